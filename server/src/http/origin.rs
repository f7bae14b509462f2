//! Where a request comes from: the other end of the connection, or, when that is a trusted reverse proxy,
//! whom the proxy says.
//!
//! Each proxy appends to `X-Forwarded-For` the address that it saw. So the header is read from its end,
//! and the first address that is no trusted proxy's is the client's: what stands before it anybody may
//! have written.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use serde::{Deserialize, Deserializer, de};

use super::problem::Failure;
use crate::service::Error;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Addresses that begin with the same bits: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u32,
}

/// A string that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither an address nor a network like 10.0.0.0/8")]
pub(crate) struct NetworkError(String);

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), u32::BITS)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), u128::BITS),
            _ => return false,
        };
        // All bits that are not compared shifted out; a shift by all of them leaves nothing.
        let head = |bits: u128| bits.checked_shr(width - self.bits).unwrap_or(0);
        head(own) == head(other)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetworkError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_no_address| wrong())?;
        let width = if address.is_ipv4() { u32::BITS } else { u128::BITS };
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_no_number| wrong())?;
        if bits <= width { Ok(Self { address, bits }) } else { Err(wrong()) }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The proxies whose word counts. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Arc<[Network]>);

impl From<Vec<Network>> for TrustedProxies {
    fn from(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }
}

impl TrustedProxies {
    /// True for a trusted proxy's address.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whose request it is that came from `peer` with these headers.
    pub(super) fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut origin = peer.to_canonical();
        let lists = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lists.flat_map(|list| list.to_str().unwrap_or("").rsplit(','));
        for hop in hops {
            if !self.trusts(origin) {
                break;
            }
            let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
            origin = address.to_canonical();
        }
        origin
    }
}

/// Where the request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin(pub IpAddr);

/// Finds out where a request comes from, for whoever asks for its [`Origin`].
pub(super) async fn find(
    State(proxies): State<TrustedProxies>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let origin = Origin(proxies.origin(peer.ip(), request.headers()));
    request.extensions_mut().insert(origin);
    next.run(request).await
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get().copied().ok_or_else(|| Error::Unavailable.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(proxies: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let networks = proxies.iter().map(|text| text.parse().unwrap()).collect::<Vec<Network>>();
        let headers = forwarded.iter().map(|list| (FORWARDED_FOR, list.parse().unwrap()));
        let headers = headers.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
        TrustedProxies::from(networks).origin(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_whose_request_it_is() {
        assert_eq!(origin(&[], "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(origin(&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(origin(&["10.0.0.0/8"], "11.0.0.1", &["1.2.3.4"]), "11.0.0.1");
        assert_eq!(origin(&["10.0.0.0/8"], "::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(origin(&["fd00::/8"], "fd12::1", &["2001:db8::5"]), "2001:db8::5");
    }

    #[test]
    fn what_a_client_writes_into_the_header_is_not_believed() {
        let chain = ["6.6.6.6, 1.2.3.4", "10.0.0.2"];
        assert_eq!(origin(&["10.0.0.0/8"], "10.0.0.1", &chain), "1.2.3.4");
        assert_eq!(origin(&["10.0.0.0/8"], "10.0.0.1", &["6.6.6.6, nonsense"]), "10.0.0.1");
        assert_eq!(origin(&["0.0.0.0/0"], "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn a_network_is_an_address_with_or_without_a_length() {
        for text in ["127.0.0.1", "::1", "10.0.0.0/8", "0.0.0.0/0", "::/0", "10.1.2.3/32"] {
            text.parse::<Network>().unwrap();
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "10.0.0.0/", "::1/129"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError(text.to_owned())), "{text}");
        }
    }
}
