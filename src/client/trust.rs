//! Whom a client trusts to be the server, and whether it speaks to one at all that proves nothing.
//!
//! A CA of one's own stands in place of those of the machine: whoever names one says that no other may
//! vouch for the server. Stores, which signed URLs name, may have certificates of either.

use std::net::IpAddr;

use reqwest::{Certificate, ClientBuilder, Url};

use super::Error;

/// Conditions under which a client tells anything to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Certificates of CAs in PEM; without, those that the machine trusts.
    pub ca: Option<String>,
    /// Servers to which plain HTTP is spoken.
    pub plain: Plain,
}

/// Servers to which a client speaks plain HTTP, when their URL says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plain {
    /// Those of this machine alone: nobody else listens on the way.
    #[default]
    Loopback,
    /// All: somebody has decided that nobody listens.
    Anywhere,
}

impl Trust {
    /// An error if what is sent to `url` could be read on its way.
    pub(super) fn check(&self, url: &Url) -> Result<(), Error> {
        if url.scheme() == "https" || self.plain == Plain::Anywhere || is_loopback(url) {
            return Ok(());
        }
        Err(Error::Plain(url.host_str().unwrap_or_default().to_owned()))
    }

    /// Has connections to the server trust whom they should.
    pub(super) fn of_server(&self, url: &Url, to: ClientBuilder) -> Result<ClientBuilder, Error> {
        match &self.ca {
            Some(ca) => Ok(to.tls_certs_only(certificates(ca)?)),
            // Nobody has to prove anything: then a machine without any certificates will do.
            None if url.scheme() == "http" => Ok(to.tls_certs_only([])),
            None => Ok(to),
        }
    }

    /// Has connections to stores trust whom they should.
    pub(super) fn of_stores(&self, to: ClientBuilder) -> Result<ClientBuilder, Error> {
        match &self.ca {
            Some(ca) => Ok(to.tls_certs_merge(certificates(ca)?)),
            None => Ok(to),
        }
    }
}

fn certificates(pem: &str) -> Result<Vec<Certificate>, Error> {
    let found = Certificate::from_pem_bundle(pem.as_bytes()).map_err(Error::Setup)?;
    if found.is_empty() { Err(Error::NoCertificate) } else { Ok(found) }
}

/// True for this machine. Names other than `localhost` may come to mean another one.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plain: Plain, url: &str) -> Result<(), Error> {
        Trust { ca: None, plain }.check(&Url::parse(url).unwrap())
    }

    #[test]
    fn plain_http_is_for_this_machine_or_by_decision() {
        for url in [
            "http://127.0.0.1:8710",
            "http://127.8.9.1",
            "http://[::1]:8710/drive",
            "http://[::ffff:127.0.0.1]",
            "http://localhost:1",
            "http://LOCALHOST",
            "https://192.0.2.1",
        ] {
            check(Plain::Loopback, url).unwrap();
        }
        for url in [
            "http://192.0.2.1:8710",
            "http://[2001:db8::1]",
            "http://drive.example.org",
            "http://localhost.example.org",
            "http://0.0.0.0",
            "http://127.0.0.1.example.org",
        ] {
            assert!(matches!(check(Plain::Loopback, url), Err(Error::Plain(_))), "{url}");
            check(Plain::Anywhere, url).unwrap();
        }
    }

    #[test]
    fn a_text_without_a_certificate_is_no_ca() {
        for text in
            ["", "a letter", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            let trust = Trust { ca: Some(text.to_owned()), plain: Plain::Loopback };
            let refused = super::super::Client::trusting("https://192.0.2.1", trust);
            assert!(matches!(refused.err(), Some(Error::NoCertificate)), "{text:?}");
        }
    }
}
