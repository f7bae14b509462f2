//! A CA of the test's own, and certificates that it signs.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use reqwest::Certificate;

use super::server::Server;

/// A CA; its own certificate stands in a file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate and its key in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// The time of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Now, and for long.
    Now,
    /// Over.
    Over,
}

impl Authority {
    /// A new CA, whose certificate goes into `NAME.pem` of a directory.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let key = KeyPair::generate().expect("random numbers");
        let params = authority(name);
        let certificate = params.self_signed(&key).expect("its own key");
        let file = directory.join(format!("{name}.pem"));
        fs::write(&file, certificate.pem()).expect("room for a certificate");
        Self { issuer: Issuer::new(params, key), file }
    }

    /// The file with its own certificate.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The same, as an argument.
    pub(crate) fn argument(&self) -> &str {
        self.file.to_str().expect("paths of tests are UTF-8")
    }

    /// The certificate, for a client of the test's own.
    pub(crate) fn certificate(&self) -> Certificate {
        let pem = fs::read(&self.file).expect("it was written");
        Certificate::from_pem(&pem).expect("it is a certificate")
    }

    /// Signs a certificate for a server of these names.
    pub(crate) fn issue(&self, names: &[&str], validity: Validity) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names of servers");
        params.distinguished_name.push(DnType::CommonName, "server");
        let years = if validity == Validity::Over { [2019, 2020] } else { [2020, 2200] };
        [params.not_before, params.not_after] = years.map(|year| date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().expect("random numbers");
        let certificate = params.signed_by(&key, &self.issuer).expect("the key of the CA");
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Signs a certificate for a server on this machine.
    pub(crate) fn issue_local(&self) -> Issued {
        self.issue(&["localhost", "127.0.0.1"], Validity::Now)
    }
}

/// A certificate for this machine that nobody has signed but its own key, as openssl makes it unless told.
pub(crate) fn self_signed() -> Issued {
    let key = KeyPair::generate().expect("random numbers");
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("names of servers");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("its own key");
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Issued {
    /// Writes both files as an orderly program does: beside, and then in place of the former.
    pub(crate) fn replace(&self, directory: &Path) {
        for (name, text) in [("key.pem", &self.key), ("cert.pem", &self.certificate)] {
            let beside = directory.join(format!("{name}.new"));
            fs::write(&beside, text).expect("room for a certificate");
            fs::rename(&beside, directory.join(name)).expect("the same directory");
        }
    }

    /// Starts a server with this certificate, whose files are in `directory`.
    pub(crate) fn serve(&self, directory: &Path) -> Server {
        self.replace(directory);
        let path = |name| directory.join(name).to_str().expect("UTF-8").to_owned();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        let arguments = ["--tls-cert", &certificate, "--tls-key", &key];
        Server::start_embedded(&directory.join("data"), &arguments)
    }
}
