//! STUN binding requests on the SIP port: the keep-alive of a phone behind NAT (RFC 5626 §3.5.2, RFC 8489).

use std::net::{IpAddr, SocketAddr};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// The answer to a binding request; `None` for anything else. No SIP message begins with a zero byte.
pub(crate) fn answer(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let head = datagram.get(..20)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[..2] != [0, 1] || head[4..8] != COOKIE || length % 4 != 0 || datagram.len() != 20 + length {
        return None;
    }
    // XOR-MAPPED-ADDRESS: hidden from NATs that rewrite what looks like an address.
    let mask = [&COOKIE, &head[8..20]].concat();
    let (family, octets) = match from.ip() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(from.port().to_be_bytes().iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
    value.extend(octets.iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
    let size = u16::try_from(value.len()).ok()?;
    let mut answer = vec![1, 1];
    answer.extend((size + 4).to_be_bytes());
    answer.extend(&head[4..20]);
    answer.extend([0, 0x20]);
    answer.extend(size.to_be_bytes());
    answer.extend(value);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Vec<u8> {
        [&[0, 1, 0, 0][..], &COOKIE, b"transaction1"].concat()
    }

    #[test]
    fn a_binding_request_learns_its_own_address() {
        let answer = answer(&request(), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(answer[..4], [1, 1, 0, 12]);
        assert_eq!(answer[4..20], request()[4..20]);
        // RFC 5769 §2.2 maps the same address and port to the same bytes.
        assert_eq!(answer[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
    }

    #[test]
    fn anything_else_is_not_answered() {
        let from = "192.0.2.1:1".parse().unwrap();
        for broken in
            [b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec(), request()[..19].to_vec(), [request(), vec![0]].concat()]
        {
            assert_eq!(answer(&broken, from), None);
        }
    }
}
