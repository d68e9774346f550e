//! Pictures of pages, made comparable: what moves with time or differs from run to run is put to fixed words, and what is
//! left is compared with a kept picture.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use png::{BitDepth, ColorType, Compression};
use serde_json::json;

use crate::Browser;

/// Says beside the pictures which browser drew them.
const BROWSER_FILE: &str = "browser.txt";

/// Flags that have every machine draw letters and colours in the same way.
pub const SAME_EVERYWHERE: [&str; 5] = [
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--disable-font-subpixel-positioning",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
];

/// The variable that says what to do with pictures: [`RENEW`] or [`COMPARE`]; without it, nothing.
const MODE: &str = "LOCKKEEPER_PICTURES";
const RENEW: &str = "renew";
const COMPARE: &str = "compare";

/// A channel of a pixel's difference, of 255, from which on it counts: structure that has little in common any more. The edges of
/// letters of another version of the browser stay far below.
const OTHER_STRUCTURE: u8 = 128;

/// The same for its two channels of colour, where another hue comes to some hundredths.
const OTHER_COLOUR: u8 = 16;

/// Pixels of a million that may differ: less than a letter, as differences come in squares of 64.
const TOLERATED_PER_MILLION: usize = 150;

/// Colours of a kept picture: those that fill surfaces are exact, the edges of letters are as near as can be. A picture has a third
/// of the size of one with all of them.
const COLOURS: usize = 128;

/// How far colours of a kept picture are from each other at least, in squares of 255ths: else the many shades along the edges of
/// letters left no room for the one colour of a small dot.
const APART: u32 = 150;

/// As many pixels of one colour are a surface, which keeps it however near it is to another.
const SURFACE: usize = 2_000;

/// Chooses the letters, ends all movement, and takes away what is drawn to the scale of time.
const STILL_STYLE: &str = ":root { --sans: 'DejaVu Sans'; --mono: 'DejaVu Sans Mono' } \
    *, *::before, *::after { animation: none !important; transition: none !important; caret-color: transparent !important } \
    svg:not(.icon, .waits svg) > *, .beat { visibility: hidden }";

/// Puts a copy in the place of the page, which the app does not know and so does not change any more, and fixed words in the place of
/// what differs from run to run.
const STILL: &str = r#"
const words = [
  [/(?<=-[0-9a-f]{12}):\d+\b/g, ':36'],
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, '0f8e2c41-5d3b-4a79-9e60-c1d2e3f4a5b6'],
  [/\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b/g, '0f8e2c415d3b4a799e60c1d2e3f4a5b6'],
  [/[0-9A-Za-z+\/=:-]{4,10}…[0-9A-Za-z+\/=:-]{2,10}/g, '0f8e2c…a5b6'],
  [/\b\d{4}-\d\d-\d\d(T[\d:.]+Z?)?/g, '2026-01-01'],
  [/\b\d\d:\d\d(:\d\d(\.\d+)?)?\b/g, '02:51:03'],
  [/\bthread \d+/g, 'thread 36'],
  [/\b\d+ transitions; the most, \d+/g, '9 transitions; the most, 9'],
  [/\bin \d+ of the \d+ steps? of [\dms ]+ that (is|are) known/g, 'in 2 of the 3 steps that are known'],
  [/127\.0\.0\.1:\d+/g, '127.0.0.1:6379'],
  [/(?<![\d.])\d+\.\d+\.\d+\b(?!\.)/g, '1.0.0'],
  [/\b\d[\d,.]*\s(?:ms|s|m|h|d)\b(?:\s\d+\s(?:ms|s|m|h)\b)*/g, '12 s'],
  [/\bless than a minute\b/g, '12 s'],
  [/\b\d[\d,.]* (cmd\/s|commands a second)/g, '9 $1'],
  [/\beverybody else [\d,.]+/g, 'everybody else 9'],
  [/\b[\d,.]+ changed keys? to read/g, '9 changed keys to read'],
  [/\b\d[\d,.]* (?:B|kB|KB|MB|KiB|MiB|bytes)\b/g, '9 kB'],
];
const own = arguments[1];
const still = text => words.reduce((text, [from, to]) => text.replace(from, to), own.reduce((text, [from, to]) => text.replaceAll(from, to), text));
const page = document.documentElement.cloneNode(true);
for (let walk = document.createTreeWalker(page, NodeFilter.SHOW_TEXT), node; node = walk.nextNode();) {
  const text = still(node.data);
  if (text !== node.data) node.data = text;
}
for (const field of page.querySelectorAll('input')) {
  field.value = field.type === 'range' ? (Number(field.min) + Number(field.max)) / 2 : still(field.value);
}
for (const minute of page.querySelectorAll('tr:has(> [class*="heat-"]) > td:nth-child(n+3)')) {
  minute.className = 'heat-1';
  (minute.querySelector('span') ?? minute).textContent = '12 s';
}
for (const fill of page.querySelectorAll('.drain i')) fill.style.transform = 'scaleX(0.5)';
document.replaceChild(page, document.documentElement);
for (const dialog of page.querySelectorAll('dialog[open]')) { dialog.removeAttribute('open'); dialog.showModal(); }
document.activeElement?.blur();
const style = new CSSStyleSheet();
style.replaceSync(arguments[0]);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, style];
"#;

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// `light` or `dark`.
    pub theme: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Screen {
    /// The screens of a desk, a small laptop and a phone, each by day and by night.
    pub const ALL: [Screen; 6] = [
        Screen { theme: "light", width: 1440, height: 900 },
        Screen { theme: "light", width: 1024, height: 768 },
        Screen { theme: "light", width: 375, height: 812 },
        Screen { theme: "dark", width: 1440, height: 900 },
        Screen { theme: "dark", width: 1024, height: 768 },
        Screen { theme: "dark", width: 375, height: 812 },
    ];

    /// Has the browser be one.
    pub async fn put_on(self, browser: &Browser) {
        let size =
            json!({ "width": self.width, "height": self.height, "deviceScaleFactor": 1, "mobile": self.width < 500 });
        browser.cdp("Emulation.setDeviceMetricsOverride", size).await;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": self.theme }] });
        browser.cdp("Emulation.setEmulatedMedia", media).await;
    }
}

/// The page as it is now, made still, as a PNG. `words` are replaced by others first. The app is gone from the page afterwards.
///
/// # Panics
/// When there is none.
pub async fn still(browser: &Browser, words: &[(&str, &str)]) -> Vec<u8> {
    browser.client.execute(STILL, vec![STILL_STYLE.into(), json!(words)]).await.unwrap();
    browser.screenshot().await
}

/// What became of a picture.
#[derive(Debug, PartialEq, Eq)]
pub enum Compared {
    /// It is as it was.
    Same,
    /// It was written in place of the one before.
    Renewed,
    /// It differs, in words.
    Differs(String),
}

/// Kept pictures, and where they are put beside each other when one differs.
#[derive(Debug)]
pub struct Album {
    kept: PathBuf,
    differences: PathBuf,
    mode: String,
}

impl Album {
    /// The pictures in `kept`, which are renewed, or compared, if the environment says so.
    #[must_use]
    pub fn open(kept: &Path, differences: &Path) -> Album {
        let mode = std::env::var(MODE).unwrap_or_default();
        Album { kept: kept.to_owned(), differences: differences.to_owned(), mode }
    }

    /// Whether they were drawn by this version of the browser: another one draws other fields and letters. Those that are renewed are
    /// from now on.
    ///
    /// # Panics
    /// When the file that says so cannot be written.
    #[must_use]
    pub fn is_drawn_by(&self, browser: &str) -> bool {
        let path = self.kept.join(BROWSER_FILE);
        if self.is_renewing() {
            fs::create_dir_all(&self.kept).unwrap();
            fs::write(&path, format!("{browser}\n")).unwrap();
        }
        fs::read_to_string(&path).is_ok_and(|known| known.trim_end() == browser)
    }

    /// Compares a PNG with the picture that is kept under this name.
    ///
    /// # Panics
    /// When files cannot be read or written.
    #[must_use]
    pub fn compare(&self, name: &str, png: &[u8]) -> Compared {
        let actual = read(png);
        let reduced = Reduced::of(&actual);
        let path = self.kept.join(format!("{name}.png"));
        let kept = fs::read(&path).ok();
        let bytes = reduced.encoded();
        if kept.as_ref() == Some(&bytes) {
            return Compared::Same;
        }
        let (expected, actual) = (kept.map(|kept| read(&kept)), reduced.picture());
        let found = difference(expected.as_ref(), &actual);
        let Some(Difference { said, map }) = found else { return Compared::Same };
        if self.is_renewing() {
            fs::create_dir_all(&self.kept).unwrap();
            fs::write(&path, bytes).unwrap();
            return Compared::Renewed;
        }
        fs::create_dir_all(&self.differences).unwrap();
        for (what, picture) in
            [("expected", expected.as_ref()), ("actual", Some(&actual)), ("difference", map.as_ref())]
        {
            if let Some(picture) = picture {
                let path = self.differences.join(format!("{name}-{what}.png"));
                fs::write(path, Reduced::of(picture).encoded()).unwrap();
            }
        }
        Compared::Differs(format!("{name}: {said}"))
    }

    /// Where to look when something differs.
    #[must_use]
    pub fn differences(&self) -> &Path {
        &self.differences
    }

    /// Whether pictures are written in place of being compared.
    #[must_use]
    pub fn is_renewing(&self) -> bool {
        self.mode == RENEW
    }

    /// Whether nobody asked for pictures.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.is_renewing() && self.mode != COMPARE
    }
}

/// How one picture differs from another.
struct Difference {
    said: String,
    /// Black where nothing does.
    map: Option<RgbImage>,
}

/// `None`: not more than is tolerated.
fn difference(expected: Option<&RgbImage>, actual: &RgbImage) -> Option<Difference> {
    let Some(expected) = expected else { return Some(Difference { said: "no picture is kept".to_owned(), map: None }) };
    if expected == actual {
        return None;
    }
    let Ok(compared) = image_compare::rgb_hybrid_compare(expected, actual) else {
        let (was, is) = (expected.dimensions(), actual.dimensions());
        return Some(Difference {
            said: format!("{} × {} pixels were {} × {}", is.0, is.1, was.0, was.1), map: None
        });
    };
    let map = compared.image.to_color_map().into_rgb8();
    let differs = |[structure, u, v]: [u8; 3]| structure >= OTHER_STRUCTURE || u.max(v) >= OTHER_COLOUR;
    let pixels = map.pixels().filter(|pixel| differs(pixel.0)).count();
    let per_million = pixels * 1_000_000 / map.pixels().len().max(1);
    (per_million > TOLERATED_PER_MILLION).then(|| Difference {
        said: format!("{per_million} pixels of a million differ, {TOLERATED_PER_MILLION} may"),
        map: Some(map),
    })
}

fn read(png: &[u8]) -> RgbImage {
    image::load_from_memory_with_format(png, ImageFormat::Png).expect("a picture").into_rgb8()
}

/// A picture of few colours.
struct Reduced {
    size: (u32, u32),
    colours: Vec<[u8; 3]>,
    pixels: Vec<u8>,
}

impl Reduced {
    /// Keeps the most frequent colours, and takes the nearest of them for each other one.
    fn of(picture: &RgbImage) -> Reduced {
        let mut number: HashMap<[u8; 3], usize> = HashMap::new();
        for pixel in picture.pixels() {
            *number.entry(pixel.0).or_default() += 1;
        }
        let mut all: Vec<([u8; 3], usize)> = number.into_iter().collect();
        all.sort_by_key(|(colour, number)| (std::cmp::Reverse(*number), *colour));
        let distance =
            |a: &[u8; 3], b: &[u8; 3]| a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum::<u32>();
        let mut colours: Vec<[u8; 3]> = Vec::new();
        for (colour, pixels) in &all {
            let is_new = *pixels >= SURFACE || colours.iter().all(|known| distance(known, colour) >= APART);
            if is_new && colours.len() < COLOURS {
                colours.push(*colour);
            }
        }
        let nearest =
            |colour: &[u8; 3]| (0..colours.len()).min_by_key(|at| distance(&colours[*at], colour)).unwrap_or(0);
        let places: HashMap<[u8; 3], u8> =
            all.iter().map(|(colour, _)| (*colour, u8::try_from(nearest(colour)).unwrap_or(0))).collect();
        let pixels = picture.pixels().map(|pixel| places[&pixel.0]).collect();
        Reduced { size: picture.dimensions(), colours, pixels }
    }

    fn picture(&self) -> RgbImage {
        let (width, height) = self.size;
        RgbImage::from_fn(width, height, |x, y| Rgb(self.colours[usize::from(self.pixels[(y * width + x) as usize])]))
    }

    fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.size.0, self.size.1);
        encoder.set_color(ColorType::Indexed);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_palette(self.colours.concat());
        encoder.set_compression(Compression::High);
        // What is good for photographs makes places in a list of colours larger.
        encoder.set_filter(png::Filter::NoFilter);
        encoder.write_header().unwrap().write_image_data(&self.pixels).unwrap();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Grey paper with lines on it, and a button of this colour at this place.
    fn page(button_at: u32, colour: [u8; 3]) -> RgbImage {
        RgbImage::from_fn(400, 300, |x, y| match () {
            () if (button_at..button_at + 60).contains(&x) && (40..64).contains(&y) => Rgb(colour),
            () if y % 30 == 0 => Rgb([90, 97, 105]),
            () => Rgb([251, 250, 247]),
        })
    }

    const BLUE: [u8; 3] = [11, 93, 122];

    #[test]
    fn what_moved_or_has_another_colour_differs_and_what_is_a_shade_off_does_not() {
        let kept = page(40, BLUE);
        let differs = |actual: &RgbImage| difference(Some(&kept), actual).is_some();
        assert!(!differs(&page(40, BLUE)));
        assert!(!differs(&page(40, [13, 94, 120])), "another version of the browser rounds otherwise");
        assert!(differs(&page(44, BLUE)));
        assert!(differs(&page(40, [168, 41, 31])));
        assert!(differs(&page(1_000, BLUE)), "it is gone");
        assert!(differs(&RgbImage::new(400, 299)));
    }

    #[test]
    fn a_kept_picture_is_read_again_as_it_was_and_what_differs_is_put_beside_it() {
        let (kept, found) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut album =
            Album { kept: kept.path().to_owned(), differences: found.path().to_owned(), mode: RENEW.to_owned() };
        let png = Reduced::of(&page(40, BLUE)).encoded();
        assert_eq!(album.compare("a", &png), Compared::Renewed);
        assert_eq!(album.compare("a", &png), Compared::Same);
        album.mode = COMPARE.to_owned();
        assert_eq!(album.compare("a", &png), Compared::Same);
        assert!(matches!(album.compare("a", &Reduced::of(&page(90, BLUE)).encoded()), Compared::Differs(_)));
        assert!(matches!(album.compare("b", &png), Compared::Differs(said) if said == "b: no picture is kept"));
        let mut files: Vec<_> = fs::read_dir(found.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["a-actual.png", "a-difference.png", "a-expected.png", "b-actual.png"]);
    }
}
