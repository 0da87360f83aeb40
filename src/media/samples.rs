//! Small pictures and documents for tests, made by hand.

/// A PNG of that size, whose pixels are not valid.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8], data: &[u8]| {
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(name);
        bytes.extend(data);
        bytes.extend([0; 4]);
    };
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[8, 2, 0, 0, 0],
    ]
    .concat();
    chunk(b"IHDR", &header);
    chunk(b"IDAT", &[0; 20]);
    chunk(b"IEND", &[]);
    bytes
}

pub(crate) fn gif(width: u16, height: u16) -> Vec<u8> {
    [
        b"GIF89a",
        &width.to_le_bytes()[..],
        &height.to_le_bytes(),
        &[0, 0, 0, 0x2c, 0, 0, 0, 0],
        b";",
    ]
    .concat()
}

pub(crate) fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let preview = [&b"\xff\xe1"[..], &[0, 8], b"\xff\xd8\xff\xd9xy"].concat();
    let frame = [
        &b"\xff\xc0"[..],
        &[0, 11, 8],
        &height.to_be_bytes(),
        &width.to_be_bytes(),
        &[1, 1, 0x11, 0],
    ]
    .concat();
    [
        &b"\xff\xd8"[..],
        &preview,
        &frame,
        b"\xff\xda\0\x08\x01\x01\0\0\x3f\0",
        b"pixels",
        b"\xff\xd9",
    ]
    .concat()
}

pub(crate) fn webp(width: u16, height: u16) -> Vec<u8> {
    let frame = [
        &[0x10, 0, 0, 0x9d, 0x01, 0x2a][..],
        &width.to_le_bytes(),
        &height.to_le_bytes(),
        &[0; 10],
    ]
    .concat();
    let size = (4 + 8 + frame.len()) as u32;
    [
        b"RIFF",
        &size.to_le_bytes()[..],
        b"WEBPVP8 ",
        &(frame.len() as u32).to_le_bytes(),
        &frame,
    ]
    .concat()
}

/// A PDF of `pages` empty pages.
pub(crate) fn pdf_of(pages: usize) -> Vec<u8> {
    let mut objects = vec!["<</Type/Catalog/Pages 2 0 R>>".to_owned()];
    let kids: String = (0..pages)
        .map(|page| format!("{} 0 R ", page + 3))
        .collect();
    objects.push(format!("<</Type/Pages/Kids[{kids}]/Count {pages}>>"));
    objects.extend((0..pages).map(|_| "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>".to_owned()));
    let mut bytes = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        offsets.push(bytes.len());
        bytes.extend(format!("{} 0 obj\n{object}\nendobj\n", i + 1).bytes());
    }
    let xref = bytes.len();
    bytes.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    bytes.extend(
        offsets
            .iter()
            .flat_map(|offset| format!("{offset:010} 00000 n \n").into_bytes()),
    );
    bytes.extend(
        format!(
            "trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{xref}\n%%EOF\n",
            objects.len() + 1
        )
        .bytes(),
    );
    bytes
}
