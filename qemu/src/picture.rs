//! A picture of the screen, and whether it shows a text, without knowing the font.
//!
//! A text console divides the screen into equal cells. Where it shows a text, equal characters are
//! equal cells and different characters are different cells, whatever the glyphs look like. Over a
//! few hundred cells no other text has the same pattern, so the check needs no font, and a wrong,
//! missing or additional character anywhere fails it.

use std::collections::BTreeMap;
use std::fmt;

/// Sides of a picture beyond which it is refused, in pixels.
pub const SIDE_MAX: usize = 8192;

/// Bytes of a pixel: red, green, blue.
const PIXEL_BYTES: usize = 3;

/// A picture, row by row from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// The size of a console's cells, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Pixels from one character to the next.
    pub width: usize,
    /// Pixels from one row to the next.
    pub height: usize,
}

impl Cell {
    /// Linux' framebuffer console with its 8x16 font.
    pub const FRAMEBUFFER: Self = Self {
        width: 8,
        height: 16,
    };
    /// VGA's text mode, 720x400 for 80x25.
    pub const VGA_TEXT: Self = Self {
        width: 9,
        height: 16,
    };
}

/// What a screen is expected to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'text> {
    /// The lines; nothing is below the last one.
    pub lines: &'text [String],
    /// Line and column of the cursor, where anything may be: it blinks.
    pub cursor: (usize, usize),
}

/// Why bytes are no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureError {
    /// The head is not `P6`, width, height and 255.
    Head,
    /// There are not as many bytes of pixels as the head says.
    Length {
        /// Bytes of pixels there are.
        bytes: usize,
        /// Bytes of pixels there should be.
        wanted: usize,
    },
    /// A side is zero or longer than [`SIDE_MAX`].
    Size {
        /// Pixels from left to right.
        width: usize,
        /// Pixels from top to bottom.
        height: usize,
    },
}

impl Picture {
    /// Reads a PPM file with 8 bits for each colour, as QEMU's `screendump` writes it (ppm(5)).
    ///
    /// # Errors
    /// [`PictureError`].
    pub fn parse(file: &[u8]) -> Result<Self, PictureError> {
        let mut rest = file;
        let magic = word(&mut rest);
        let mut number = || {
            let digits = std::str::from_utf8(word(&mut rest)).ok()?;
            digits.parse::<usize>().ok()
        };
        let (width, height, depth) = (number(), number(), number());
        let (Some(width), Some(height), Some(255), b"P6") = (width, height, depth, magic) else {
            return Err(PictureError::Head);
        };
        if !(1..=SIDE_MAX).contains(&width) || !(1..=SIDE_MAX).contains(&height) {
            return Err(PictureError::Size { width, height });
        }
        let wanted = width * height * PIXEL_BYTES;
        if rest.len() != wanted {
            return Err(PictureError::Length {
                bytes: rest.len(),
                wanted,
            });
        }
        Ok(Self {
            width,
            height,
            pixels: rest.to_vec(),
        })
    }

    /// Pixels from left to right, and from top to bottom.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The first row of cells from which on the screen shows exactly `text`, with blank cells
    /// right of each line and below the last; None when there is none.
    ///
    /// What is above that row is not looked at.
    pub fn find(&self, cell: Cell, text: Text<'_>) -> Option<usize> {
        let rows = self.height / cell.height;
        let last_start = rows.checked_sub(text.lines.len())?;
        (0..=last_start).find(|&start| self.shows(cell, start, text))
    }

    /// Whether equal cells and equal characters are the same places, from row `start` on.
    fn shows(&self, cell: Cell, start: usize, text: Text<'_>) -> bool {
        let (columns, rows) = (self.width / cell.width, self.height / cell.height);
        let mut glyphs: BTreeMap<char, Vec<u8>> = BTreeMap::new();
        for row in start..rows {
            let line = text.lines.get(row - start).map_or("", String::as_str);
            if line.chars().count() > columns {
                return false;
            }
            let characters = line.chars().chain(std::iter::repeat(' '));
            for (column, character) in characters.take(columns).enumerate() {
                if (row - start, column) == text.cursor {
                    continue;
                }
                let drawn = self.cell(cell, row, column);
                let known = glyphs.entry(character).or_insert_with(|| drawn.clone());
                if *known != drawn {
                    return false;
                }
            }
        }
        let mut shapes: Vec<&Vec<u8>> = glyphs.values().collect();
        shapes.sort_unstable();
        shapes.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// The pixels of a cell.
    fn cell(&self, cell: Cell, row: usize, column: usize) -> Vec<u8> {
        let bytes = cell.width * PIXEL_BYTES;
        (0..cell.height)
            .flat_map(|line| {
                let y = row * cell.height + line;
                let start = (y * self.width + column * cell.width) * PIXEL_BYTES;
                self.pixels[start..start + bytes].iter().copied()
            })
            .collect()
    }
}

/// The next word of a PPM's head, taken off `rest` with the one white space behind it.
fn word<'bytes>(rest: &mut &'bytes [u8]) -> &'bytes [u8] {
    let end = rest.iter().position(u8::is_ascii_whitespace);
    let (word, tail) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = tail.get(1..).unwrap_or_default();
    word
}

/// For fuzzing: what is read fits its size, and looking for a text in it ends.
///
/// # Panics
/// When the reader is wrong.
pub fn fuzz_picture(data: &[u8]) {
    if let Ok(picture) = Picture::parse(data) {
        let (width, height) = picture.size();
        assert_eq!(picture.pixels.len(), width * height * PIXEL_BYTES);
        let lines = ["a".to_owned(), "b a".to_owned()];
        let text = Text {
            lines: &lines,
            cursor: (1, 1),
        };
        let found = picture.find(Cell::FRAMEBUFFER, text);
        assert!(found.is_none_or(|row| row < height / Cell::FRAMEBUFFER.height));
    }
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("this is no PPM picture with 8 bits for each colour"),
            Self::Length { bytes, wanted } => {
                write!(
                    f,
                    "the picture has {bytes} bytes of pixels, wanted {wanted}"
                )
            }
            Self::Size { width, height } => write!(
                f,
                "a picture of {width}x{height} pixels: each side is 1 to {SIDE_MAX}"
            ),
        }
    }
}

impl std::error::Error for PictureError {}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: Cell = Cell {
        width: 8,
        height: 8,
    };

    #[test]
    fn a_text_is_found_where_it_is_drawn_whatever_its_glyphs() {
        let shown = ["firmware", "Outgate 0.1.0", "", "Key: "];
        for font in [1, 7] {
            let picture = drawn(&shown, font);
            assert_eq!(found(&picture, &shown), Some(0));
            assert_eq!(found(&picture, &shown[1..]), Some(1));
        }
    }

    #[test]
    fn one_character_more_less_or_other_is_no_match() {
        let picture = drawn(&["Outgate 0.1.0", "Key: cbd"], 1);
        for other in [
            &["Outgate 0.1.0", "Key: cbe"][..],
            &["Outgate 0.1.0", "Key: cb"],
            &["Outgate 0.1.0", "Key: cbdb"],
            &["Outgate 0.1.1", "Key: cbd"],
            &["Outgate 0.1.0"],
            &["Outgate 0.1.0", "Key: cbd", "."],
            &["Outgate 0.1.0", "", "Key: cbd"],
            &[
                "Outgate 0.1.0 and far more than the sixteen columns",
                "Key: cbd",
            ],
        ] {
            assert_eq!(found(&picture, other), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_under_the_cursor_does_not_matter() {
        let picture = drawn(&["Key:_"], 1);
        let lines = ["Key:".to_owned()];
        let at = |cursor| {
            picture.find(
                CELL,
                Text {
                    lines: &lines,
                    cursor,
                },
            )
        };
        assert_eq!(at((0, 4)), Some(0));
        assert_eq!(at((0, 5)), None);
    }

    #[test]
    fn damaged_pictures_are_refused() {
        let good = ppm(&drawn(&["a"], 1));
        assert!(Picture::parse(&good).is_ok());
        assert!(matches!(
            Picture::parse(&good[..good.len() - 1]),
            Err(PictureError::Length { .. })
        ));
        for head in [
            &b""[..],
            b"P5\n1 1\n255\n0",
            b"P6\n1 x\n255\n",
            b"P6\n1 1\n65535\n",
        ] {
            assert_eq!(Picture::parse(head), Err(PictureError::Head));
        }
        let size = PictureError::Size {
            width: 99999,
            height: 1,
        };
        assert_eq!(Picture::parse(b"P6\n99999 1\n255\n"), Err(size));
    }

    #[test]
    fn the_fuzz_body_takes_pictures_and_anything_else() {
        let good = ppm(&drawn(&["a", "b a"], 1));
        fuzz_picture(&good);
        for end in 0..24 {
            fuzz_picture(&good[..end]);
        }
        fuzz_picture(b"P6\n18446744073709551615 18446744073709551615\n255\n");
    }

    fn found(picture: &Picture, lines: &[&str]) -> Option<usize> {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let text = Text {
            lines: &lines,
            // Nowhere.
            cursor: (usize::MAX, 0),
        };
        picture.find(CELL, text)
    }

    /// 16x4 cells with `lines` at the top; the glyph of a character is its number times `font` as
    /// bits, and a blank is black.
    fn drawn(lines: &[&str], font: u32) -> Picture {
        let (width, height) = (16 * CELL.width, 4 * CELL.height);
        let mut pixels = vec![0; width * height * PIXEL_BYTES];
        for (row, line) in lines.iter().enumerate() {
            for (column, character) in line.chars().enumerate().filter(|(_, c)| *c != ' ') {
                for bit in 0..16 {
                    let (x, y) = (column * CELL.width + bit % 8, row * CELL.height + bit / 8);
                    if ((u32::from(character) * font) >> bit) & 1 == 1 {
                        pixels[(y * width + x) * PIXEL_BYTES] = 0xaa;
                    }
                }
            }
        }
        Picture {
            width,
            height,
            pixels,
        }
    }

    fn ppm(picture: &Picture) -> Vec<u8> {
        let mut file = format!("P6\n{} {}\n255\n", picture.width, picture.height).into_bytes();
        file.extend(&picture.pixels);
        file
    }
}
