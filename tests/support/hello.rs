//! What a TLS client says first, made by hand: any name, any protocols, in any pieces.

/// The first message of a client that asks for `name` and offers these protocols, without records around it.
pub(crate) fn hello_message(name: Option<&str>, alpn: &[&str]) -> Vec<u8> {
    let names = name.map(|name| extension(0, &counted(&[&[0][..], &counted(name.as_bytes())].concat())));
    let offers: Vec<u8> = alpn.iter().flat_map(|name| [&[name.len() as u8][..], name.as_bytes()].concat()).collect();
    let offers = (!alpn.is_empty()).then(|| extension(16, &counted(&offers)));
    let extensions: Vec<u8> = names.into_iter().chain(offers).flatten().collect();
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &counted(&extensions)].concat();
    [&[1], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

/// The same in one record.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    records(&hello_message(Some(name), &[]), 16_384)
}

/// A message in records of at most `size` bytes.
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &counted(part)].concat()).collect()
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &counted(value)].concat()
}
