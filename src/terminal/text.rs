//! Text in columns of a terminal, where a Chinese character takes two.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands for what was cut.
const CUT: char = '…';

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// As the terminal has it.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Of less interest.
    Dim,
    /// All is well.
    Green,
    /// At work.
    Cyan,
    /// Worth a look.
    Yellow,
    /// Somebody must look.
    Red,
}

impl Style {
    /// `text` so, or as it is without colour.
    #[must_use]
    pub fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Cyan => "36",
            Self::Yellow => "33",
            Self::Red => "1;31",
        };
        if colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The columns that it takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text`, cut to at most so many columns.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let (mut taken, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        taken.push(c);
    }
    if columns > 0 {
        taken.push(CUT);
    }
    taken
}

/// `text` in lines of at most so many columns, broken at blanks where there are any.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if width(&line) + c.width().unwrap_or(0) > columns {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_count_two_and_are_never_halved() {
        assert_eq!(width("上海a"), 5);
        assert_eq!(cut("上海omc", 7), "上海omc");
        assert_eq!(cut("上海omc", 6), "上海o…");
        assert_eq!(cut("上海", 3), "上…");
        // the second character does not fit into the half that is left
        assert_eq!(cut("上海北京", 4), "上…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn long_text_is_broken_at_blanks_and_else_anywhere() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("上海北京", 5), ["上海", "北京"]);
        assert!(wrap("a long wordwithoutanyblank 上海北京上海北京", 6).iter().all(|line| width(line) <= 6));
    }

    #[test]
    fn without_colour_a_text_is_as_it_is() {
        assert_eq!(Style::Red.paint("lost", false), "lost");
        assert_eq!(Style::Red.paint("lost", true), "\x1b[1;31mlost\x1b[0m");
    }
}
