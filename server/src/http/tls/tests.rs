//! Tests of certificates that are read and renewed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};

use super::super::certificate::{Certificate, TlsError, TlsFiles};
use super::{CertificateRenewal, Current};

/// A certificate and its key in PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn files(directory: &Path) -> TlsFiles {
    TlsFiles { certificate: directory.join("cert.pem"), key: directory.join("key.pem") }
}

fn write(files: &TlsFiles, (certificate, key): &(String, String)) {
    fs::write(&files.certificate, certificate).unwrap();
    fs::write(&files.key, key).unwrap();
}

/// A directory with a pair, and the watch over it.
fn watched() -> (tempfile::TempDir, TlsFiles, CertificateRenewal) {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    write(&files, &pair());
    let current = Arc::new(Current::load(&files).unwrap());
    let renewal = CertificateRenewal::new(files.clone(), current);
    (directory, files, renewal)
}

fn presented(renewal: &CertificateRenewal) -> Vec<u8> {
    renewal.current.0.read().unwrap().cert[0].to_vec()
}

fn of_files(files: &TlsFiles) -> Vec<u8> {
    Certificate::read(files).unwrap().key.cert[0].to_vec()
}

#[test]
fn a_new_pair_counts_once_it_is_at_rest() {
    let (_directory, files, mut renewal) = watched();
    let old = presented(&renewal);
    write(&files, &pair());
    renewal.look();
    assert_eq!(presented(&renewal), old, "it may still be written");
    renewal.look();
    assert_eq!(presented(&renewal), of_files(&files));
    assert_ne!(presented(&renewal), old);
}

#[test]
fn what_is_half_written_or_no_pair_changes_nothing() {
    let (_directory, files, mut renewal) = watched();
    let old = presented(&renewal);
    let new = pair();
    let broken_off = new.0[..new.0.len() / 2].to_owned();
    let two = format!("{}{broken_off}", new.0);
    for certificate in [new.0.clone(), broken_off, two, String::new(), "no certificate".to_owned()]
    {
        // The key is still the old one.
        fs::write(&files.certificate, &certificate).unwrap();
        renewal.look();
        renewal.look();
        assert_eq!(presented(&renewal), old, "{certificate}");
    }
    fs::remove_file(&files.certificate).unwrap();
    renewal.read();
    assert_eq!(presented(&renewal), old);
    write(&files, &new);
    renewal.look();
    renewal.look();
    assert_eq!(presented(&renewal), of_files(&files));
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    assert!(matches!(Certificate::read(&files), Err(TlsError::File { .. })));
    let (first, second) = (pair(), pair());
    write(&files, &(first.0.clone(), second.1));
    let refused = Certificate::read(&files).unwrap_err();
    assert!(matches!(refused, TlsError::Pair { .. }), "{refused}");
    write(&files, &(first.1.clone(), first.1.clone()));
    assert!(matches!(Certificate::read(&files), Err(TlsError::NoCertificate(_))));
    write(&files, &(first.0.clone(), first.0));
    assert!(matches!(Certificate::read(&files), Err(TlsError::Pem { .. })));
}
