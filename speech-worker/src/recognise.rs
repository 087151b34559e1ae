//! Recognition: a few decoders, each on its own thread, which serve whoever speaks.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, CString, c_char};
use std::hash::{Hash as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use crate::dictionary::{Dictionary, model};
use crate::ffi::{Engines, PsDecoder, memory_file};
use crate::fir::Up;
use crate::wire::Reply;

/// New samples (8 kHz) after which the guess is looked at again: 200 ms.
const PARTIAL: usize = 1600;
/// An utterance that is longer is not kept whole for the second look: 20 s.
const LONGEST: usize = 160_000;
/// Grammars a decoder keeps; the oldest goes first.
const GRAMMARS: usize = 48;
/// Below so many samples (150 ms) nothing can have been said.
const SHORTEST: usize = 1200;

/// Stands for words without a pronunciation.
const UNSAYABLE: &str = "zhoyzhoy";

/// What an utterance is made of.
pub(crate) enum Sound {
    Samples(Vec<i16>),
    End,
}

struct Utterance {
    session: u32,
    number: u32,
    grammar: String,
    sound: mpsc::Receiver<Sound>,
}

/// Decoders and the utterances that wait for one.
pub(crate) struct Pool {
    engines: &'static Engines,
    dictionary: &'static Dictionary,
    queue: mpsc::Sender<Utterance>,
    waiting: Arc<Mutex<mpsc::Receiver<Utterance>>>,
    /// Utterances that wait or are heard; a decoder is made when there are more of them than decoders.
    open: Arc<AtomicUsize>,
    decoders: AtomicUsize,
    most: usize,
    replies: mpsc::Sender<Reply>,
}

impl Pool {
    pub(crate) fn new(
        engines: &'static Engines,
        dictionary: &'static Dictionary,
        most: usize,
        replies: mpsc::Sender<Reply>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel();
        let pool = Pool {
            engines,
            dictionary,
            queue,
            waiting: Arc::new(Mutex::new(waiting)),
            open: Arc::new(AtomicUsize::new(0)),
            decoders: AtomicUsize::new(0),
            most,
            replies,
        };
        pool.add_decoder();
        pool
    }

    /// Opens an utterance; its sound is kept until a decoder is free.
    pub(crate) fn begin(&self, session: u32, number: u32, grammar: String) -> mpsc::Sender<Sound> {
        let (sound, receiver) = mpsc::channel();
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open > self.decoders.load(Ordering::Relaxed) {
            self.add_decoder();
        }
        let _ = self.queue.send(Utterance { session, number, grammar, sound: receiver });
        sound
    }

    fn add_decoder(&self) {
        if self.decoders.load(Ordering::Relaxed) >= self.most {
            return;
        }
        self.decoders.fetch_add(1, Ordering::Relaxed);
        let (engines, dictionary, replies) = (self.engines, self.dictionary, self.replies.clone());
        let (waiting, open) = (self.waiting.clone(), self.open.clone());
        std::thread::spawn(move || {
            let Some(mut decoder) = Decoder::new(engines, dictionary) else {
                // Without a decoder this process is of no use; its end makes the server say so and start another.
                eprintln!("speech-worker: the acoustic model cannot be loaded");
                std::process::exit(70);
            };
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(utterance) = next else { return };
                decoder.hear(&utterance, &replies);
                open.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }
}

/// One decoder of pocketsphinx; it belongs to the thread that made it.
struct Decoder {
    engines: &'static Engines,
    dictionary: &'static Dictionary,
    raw: *mut PsDecoder,
    /// Words it can already say.
    known: HashSet<String>,
    /// Names of the grammars it holds, oldest first, with the words that they lack.
    grammars: Vec<(String, BTreeSet<String>)>,
}

fn c(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

impl Decoder {
    fn new(engines: &'static Engines, dictionary: &'static Dictionary) -> Option<Self> {
        let f = &engines.functions;
        let _setup = engines.setup.lock().unwrap_or_else(PoisonError::into_inner);
        // One word to begin with: grammars bring theirs. The whole dictionary would cost 90 MB a decoder.
        let (_file, path) = memory_file(b"yes Y EH S\n")?;
        // The model's own parameters rule over arguments, so the mean to start from goes in there: this one fits telephone audio.
        let parameters = std::fs::read_to_string(model().join("en-us").join("feat.params")).ok()?;
        let parameters: String = parameters
            .lines()
            .filter(|line| !line.starts_with("-cmninit"))
            .fold("-cmninit 40,3,-1\n".to_owned(), |all, line| all + line + "\n");
        let (_parameters, parameters) = memory_file(parameters.as_bytes())?;
        let acoustic = model().join("en-us").display().to_string();
        let arguments = [
            "speech-worker",
            "-hmm",
            &acoustic,
            "-dict",
            &path,
            "-featparams",
            &parameters,
            "-samprate",
            "16000",
            "-remove_silence",
            "yes",
            "-logfn",
            "/dev/null",
        ];
        let arguments: Vec<CString> = arguments.map(c).to_vec();
        let pointers: Vec<*const c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
        // SAFETY: the definitions are pocketsphinx's own; the arguments are copied by the call.
        let config = unsafe {
            (f.cmd_ln_parse_r)(std::ptr::null_mut(), (f.ps_args)(), pointers.len() as i32, pointers.as_ptr(), 1)
        };
        if config.is_null() {
            return None;
        }
        // SAFETY: `config` is a configuration; the decoder keeps its own reference, so ours is given back.
        let raw = unsafe {
            let raw = (f.ps_init)(config);
            (f.cmd_ln_free_r)(config);
            raw
        };
        let known = HashSet::from(["yes".to_owned()]);
        (!raw.is_null()).then_some(Decoder { engines, dictionary, raw, known, grammars: Vec::new() })
    }

    /// Makes a grammar the one that is listened for, and tells which of its words the dictionary lacks.
    fn choose(&mut self, grammar: &str) -> Option<BTreeSet<String>> {
        let f = &self.engines.functions;
        let mut hasher = DefaultHasher::new();
        grammar.hash(&mut hasher);
        let name = format!("g{:016x}", hasher.finish());
        let held = self.grammars.iter().position(|(held, _)| *held == name);
        let entry = match held {
            Some(at) => self.grammars.remove(at),
            None => {
                let _setup = self.engines.setup.lock().unwrap_or_else(PoisonError::into_inner);
                let (grammar, unknown) = self.learn(grammar);
                // SAFETY: the decoder is alive and this thread's; both strings are C strings.
                let refused = unsafe { (f.ps_set_jsgf_string)(self.raw, c(&name).as_ptr(), c(&grammar).as_ptr()) };
                if refused != 0 {
                    return None;
                }
                (name, unknown)
            }
        };
        // SAFETY: as above; the search of this name exists.
        let refused = unsafe { (f.ps_set_search)(self.raw, c(&entry.0).as_ptr()) };
        if refused != 0 {
            return None;
        }
        let unknown = entry.1.clone();
        self.grammars.push(entry);
        if self.grammars.len() > GRAMMARS {
            let (old, _) = self.grammars.remove(0);
            // SAFETY: as above; the oldest is not the one just chosen.
            unsafe { (f.ps_unset_search)(self.raw, c(&old).as_ptr()) };
        }
        Some(unknown)
    }

    /// A word that nobody says, for grammars whose words nobody knows how to say: pocketsphinx refuses the whole grammar
    /// for one of them (and for `<VOID>`, too), and only the phrases with that word are to be lost.
    fn unsayable(&mut self) -> &'static str {
        if self.known.insert(UNSAYABLE.to_owned()) {
            // SAFETY: the decoder is alive and this thread's; both strings are C strings.
            unsafe {
                (self.engines.functions.ps_add_word)(
                    self.raw,
                    c(UNSAYABLE).as_ptr(),
                    c"ZH OY ZH OY ZH OY ZH".as_ptr(),
                    0,
                )
            };
        }
        UNSAYABLE
    }

    /// Gives the decoder the words of a grammar, and tells which of them the dictionary lacks.
    fn learn(&mut self, grammar: &str) -> (String, BTreeSet<String>) {
        let f = &self.engines.functions;
        let mut unknown = BTreeSet::new();
        let mut out = String::with_capacity(grammar.len());
        for part in pieces(grammar) {
            let Piece::Word(word) = part else {
                out.push_str(part.text());
                continue;
            };
            let word = word.to_lowercase();
            let phones = self.dictionary.phones(&word);
            if phones.is_empty() {
                out.push_str(self.unsayable());
                unknown.insert(word);
                continue;
            }
            if self.known.insert(word.clone()) {
                for (n, phones) in phones.iter().enumerate() {
                    let name = if n == 0 { word.clone() } else { format!("{word}({})", n + 1) };
                    // SAFETY: the decoder is alive and this thread's; both strings are C strings.
                    unsafe { (f.ps_add_word)(self.raw, c(&name).as_ptr(), c(phones).as_ptr(), 0) };
                }
            }
            out.push_str(&word);
        }
        (out, unknown)
    }

    /// Listens to an utterance to its end and answers.
    fn hear(&mut self, utterance: &Utterance, replies: &mpsc::Sender<Reply>) {
        let (session, number) = (utterance.session, utterance.number);
        let f = &self.engines.functions;
        let Some(unknown) = self.choose(&utterance.grammar) else {
            let _ = replies.send(Reply::BadGrammar { session, utterance: number });
            return;
        };
        if !unknown.is_empty() {
            let words = unknown.into_iter().collect::<Vec<_>>().join(" ");
            let _ = replies.send(Reply::Unknown { session, words });
        }
        // SAFETY: here and below the decoder is alive and this thread's, and slices outlive their calls.
        unsafe { (f.ps_start_utt)(self.raw) };
        let mut up = Up::new();
        let mut wide = Vec::new();
        let mut whole: Vec<i16> = Vec::new();
        let (mut heard, mut looked) = (0, 0);
        let mut guess = String::new();
        let ended = loop {
            match utterance.sound.recv() {
                Ok(Sound::Samples(pcm)) => {
                    heard += pcm.len();
                    wide.clear();
                    up.process(&pcm, &mut wide);
                    // SAFETY: see above.
                    unsafe { (f.ps_process_raw)(self.raw, wide.as_ptr(), wide.len(), 0, 0) };
                    if whole.len() < 2 * LONGEST {
                        whole.extend_from_slice(&wide);
                    }
                }
                Ok(Sound::End) => break true,
                Err(mpsc::RecvError) => break false,
            }
            if heard - looked >= PARTIAL {
                looked = heard;
                let text = self.words();
                if !text.is_empty() && text != guess {
                    guess.clone_from(&text);
                    let _ = replies.send(Reply::Partial { session, utterance: number, text });
                }
            }
        };
        // SAFETY: see above.
        unsafe { (f.ps_end_utt)(self.raw) };
        if !ended {
            return;
        }
        let streamed = self.words();
        if heard < SHORTEST {
            let _ = replies.send(Reply::Final { session, utterance: number, sure: false, text: String::new() });
            return;
        }
        // A second look with the mean of the whole utterance: a little better, and where both differ it is a guess.
        let text = if heard <= LONGEST { self.again(&whole) } else { streamed.clone() };
        let sure = text == streamed;
        let text = if text.is_empty() { streamed } else { text };
        let _ = replies.send(Reply::Final { session, utterance: number, sure, text });
    }

    fn again(&mut self, whole: &[i16]) -> String {
        let f = &self.engines.functions;
        // SAFETY: the decoder is alive and this thread's, the slice outlives the call.
        unsafe {
            (f.ps_start_utt)(self.raw);
            (f.ps_process_raw)(self.raw, whole.as_ptr(), whole.len(), 0, 1);
            (f.ps_end_utt)(self.raw);
        }
        self.words()
    }

    /// The best words so far.
    fn words(&self) -> String {
        let mut score = 0;
        // SAFETY: the decoder is alive and this thread's; the string is copied before the next call.
        let text = unsafe {
            let text = (self.engines.functions.ps_get_hyp)(self.raw, &mut score);
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text)
        };
        let text = text.to_string_lossy();
        if text.contains(UNSAYABLE) { String::new() } else { text.trim().to_owned() }
    }
}

/// A part of a grammar.
enum Piece<'g> {
    /// To be said.
    Word(&'g str),
    /// Marks, names of rules, weights, spaces.
    Other(&'g str),
}

impl<'g> Piece<'g> {
    fn text(&self) -> &'g str {
        match self {
            Piece::Word(text) | Piece::Other(text) => text,
        }
    }
}

/// Takes a grammar apart; together the pieces are the grammar.
fn pieces(grammar: &str) -> Vec<Piece<'_>> {
    const MARKS: &str = "<>|()[]*+=;/{} \t\r\n";
    let mut out = Vec::new();
    let mut right = false;
    let mut rest = grammar;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '<' => rest.find('>').map_or(rest.len(), |at| at + 1),
            '/' => rest[1..].find('/').map_or(rest.len(), |at| at + 2),
            '{' => rest.find('}').map_or(rest.len(), |at| at + 1),
            _ if MARKS.contains(first) => first.len_utf8(),
            _ => rest.find(|c| MARKS.contains(c)).unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(end);
        match first {
            '=' => right = true,
            ';' => right = false,
            _ => {}
        }
        out.push(if right && !MARKS.contains(first) { Piece::Word(piece) } else { Piece::Other(piece) });
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grammar_comes_apart_into_words_and_the_rest() {
        let grammar = "#JSGF V1.0;\ngrammar g;\npublic <a> = /0.5/ yes [please] | <b>+ {tag};\n<b> = o'clock;";
        let all = pieces(grammar);
        assert_eq!(all.iter().map(Piece::text).collect::<String>(), grammar);
        let words: Vec<&str> =
            all.iter().filter_map(|p| if let Piece::Word(w) = p { Some(*w) } else { None }).collect();
        assert_eq!(words, ["yes", "please", "o'clock"]);
    }

    #[test]
    fn an_unfinished_grammar_comes_apart_all_the_same() {
        for grammar in ["a = <b", "a = /1", "a = {", "= \u{e4}\u{f6}<"] {
            assert_eq!(pieces(grammar).iter().map(Piece::text).collect::<String>(), grammar);
        }
    }
}
