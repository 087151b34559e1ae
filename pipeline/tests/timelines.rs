//! Scripted conversations, word for word: what goes in at a time, and what must come out at exactly which time.
//!
//! `t> input`, `t< output`, `t· note`, `never: …`. The latest times (`≤`) are for tests of whole calls; this machine must be exact.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use pipeline::Ms;
use pipeline::turn::{
    Answerer, Cause, Field, HoldWhy, In, Line, Manner, Note, Out, Place, Prompt, Said, TurnConfig, Turns, Unanswered,
    Why,
};

/// Timelines that do not pass yet, and why.
const WAITING: &[(&str, &str)] = &[];

/// Clauses of `never:` in prose; each says in words what the exact comparison of all outputs checks anyway.
const PROSE: &[&str] = &[
    "wait over 500 ms",
    "wait of the digits field",
    "second generate",
    "second commit",
    "cut of g2",
    "cancel of the tool",
    "anything after closed",
    "line held over 30 s",
];

struct Timeline {
    id: String,
    title: String,
    config: TurnConfig,
    expect: Field,
    inputs: Vec<(Ms, String)>,
    outputs: Vec<(Ms, String)>,
    notes: Vec<(Ms, String)>,
    never: Vec<String>,
    end: Ms,
}

fn load(file: &str) -> Vec<Timeline> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("timelines").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let mut all = Vec::new();
    let mut current: Option<(String, Vec<String>)> = None;
    for line in text.lines().chain(["END"]) {
        if let Some(body) = line.strip_prefix("    ") {
            current.as_mut().unwrap().1.extend(body.split(" | ").map(|entry| entry.trim_end_matches(" |").to_owned()));
        } else if let Some((header, entries)) = current.replace((line.to_owned(), Vec::new())) {
            all.push(parse(&header, &entries));
        }
    }
    all
}

fn parse(header: &str, entries: &[String]) -> Timeline {
    let (id, rest) = header.split_once("  ").unwrap();
    let (title, settings) = rest.split_once("   [").unwrap_or((rest, ""));
    let settings: BTreeMap<&str, &str> =
        settings.trim_end_matches(']').split_whitespace().map(|setting| setting.split_once('=').unwrap()).collect();
    let number = |key: &str| settings[key].parse().unwrap();
    let expect = match settings.get("expect").copied() {
        None => settings.get("keymap").map_or(Field::Open, |keys| Field::Keymap { keys: (*keys).to_owned() }),
        Some("yes_no") => Field::YesNo,
        Some("phone") => Field::Phone,
        Some("email") => Field::Email,
        Some("spelling") => Field::Spelling,
        Some("amount") => Field::Amount,
        Some("digits") => Field::Digits { min: number("dmin"), max: number("dmax") },
        Some(other) => panic!("{id}: unknown field {other}"),
    };
    let config = TurnConfig { recogniser: !settings.contains_key("nostt"), ..TurnConfig::default() };
    let mut timeline = Timeline {
        id: id.to_owned(),
        title: title.to_owned(),
        config,
        expect,
        inputs: Vec::new(),
        outputs: Vec::new(),
        notes: Vec::new(),
        never: Vec::new(),
        end: 0,
    };
    for entry in entries {
        if let Some(clauses) = entry.strip_prefix("never: ") {
            timeline.never = clauses.split(", ").map(str::to_owned).collect();
            continue;
        }
        let at = entry.find(|c: char| !c.is_ascii_digit()).unwrap();
        let time: Ms = entry[..at].parse().unwrap_or_else(|_| panic!("{id}: no time in {entry:?}"));
        let kind = entry[at..].chars().next().unwrap();
        let what = entry[at + kind.len_utf8()..].trim();
        let what = what.split_once(" ≤").map_or(what, |(what, _)| what).trim().to_owned();
        timeline.end = timeline.end.max(time);
        match kind {
            '>' => timeline.inputs.push((time, what)),
            '<' => timeline.outputs.push((time, what)),
            '·' => timeline.notes.push((time, what)),
            other => panic!("{id}: {other:?} in {entry:?}"),
        }
    }
    timeline
}

fn quoted(text: &str) -> String {
    text.split('"').nth(1).unwrap_or_else(|| panic!("no quotation in {text:?}")).to_owned()
}

/// The first number after `mark` ("g", "on(", …).
fn number_after(text: &str, mark: &str) -> Ms {
    let rest = &text[text.find(mark).unwrap_or_else(|| panic!("no {mark} in {text:?}")) + mark.len()..];
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// The generation that an entry names.
fn named(text: &str) -> Option<u64> {
    text.split_whitespace().find_map(|word| word.strip_prefix('g').and_then(|number| number.parse().ok()))
}

fn inputs(text: &str, last: u64) -> Vec<In> {
    let word = text.split([' ', '(']).next().unwrap();
    let r#gen = named(text).unwrap_or(last);
    let length = || number_after(text, &format!("g{gen} ", gen = r#gen));
    let one = match word {
        "agent" => {
            let said = quoted(text);
            let rest = text.rsplit('"').next().unwrap();
            let duration = rest.split_whitespace().next().and_then(|number| number.parse().ok());
            let say = In::Say { text: said, protected: rest.contains("uninterruptible"), ends: false, id: None };
            return vec![say, In::Audio { r#gen, duration }];
        }
        "say" => {
            let protected = text.ends_with("uninterruptible");
            In::Say { text: quoted(text), protected, ends: false, id: None }
        }
        "mark" => In::Mark { r#gen },
        "on" => In::On { at: number_after(text, "on(") },
        "off" => In::Off { at: number_after(text, "off(") },
        "partial" => In::Partial { text: quoted(text), end: None },
        "final" => In::Final { text: quoted(text), end: None },
        "vendor-eager" => In::VendorEager { text: quoted(text) },
        "vendor-resumed" => In::VendorResumed,
        "vendor-end" => In::VendorEnd { text: quoted(text) },
        "audio" => In::Audio { r#gen, duration: Some(length()) },
        "token" => In::Token { r#gen },
        "key" => In::Key { digit: text.as_bytes()[4], at: 0 },
        "underrun" => In::Underrun { r#gen },
        "refill" => In::Refill { r#gen },
        "llm-error" => In::LlmError { r#gen },
        "tool-call" => {
            let name = text.split(' ').nth(1).unwrap().to_owned();
            In::ToolCall { r#gen, id: name.clone(), name, cancellable: text.ends_with("cancellable") }
        }
        "tool-result" => In::ToolResult { id: text.split(' ').nth(1).unwrap().to_owned() },
        "end_call" => In::EndCall { r#gen },
        "BYE" => In::Bye,
        "stt-down" => In::SttDown,
        "music-on" => In::Music(true),
        "music-off" => In::Music(false),
        "hold-on" => In::Hold(true),
        "hold-off" => In::Hold(false),
        "200" => In::Answered { screen: text.contains("screening on") },
        // A remark for whoever plays the playout.
        "" if text == "(mark will be lost)" => return Vec::new(),
        _ => panic!("unknown input {text:?}"),
    };
    vec![one]
}

fn shown(out: &Out) -> String {
    match out {
        Out::Pause { r#gen } => format!("pause g{gen}", gen = r#gen),
        Out::Resume { r#gen, from: Place::Same } => format!("resume g{gen} fade 20 ms", gen = r#gen),
        Out::Resume { r#gen, from: Place::WordStart } => {
            format!("resume g{gen} fade 20 ms, from the last word start", gen = r#gen)
        }
        Out::Cancel { r#gen, heard: None } => format!("cancel g{gen} unheard", gen = r#gen),
        Out::Cancel { r#gen, heard: Some(ms) } => format!("cancel g{gen} heard {ms} ms", gen = r#gen),
        Out::Play { r#gen } => format!("play g{gen}", gen = r#gen),
        Out::Generate { r#gen, turn, said, speculative, results, manner } => {
            let mut text = format!("generate g{gen} t{turn}", gen = r#gen);
            text.push_str(if *speculative { " spec" } else { "" });
            match said {
                Said::Nothing => text.push_str(" reply from"),
                Said::Words(words) => write!(text, " {words:?}").unwrap(),
                Said::Keys(keys) => write!(text, " \"keys {keys}\"").unwrap(),
            }
            for result in results {
                text.push_str(if *said == Said::Nothing { "" } else { " +" });
                write!(text, " result of {result}").unwrap();
            }
            text.push_str(match manner {
                Manner::First => "",
                Manner::Backup => " (backup)",
                Manner::WrapUp => " (wrap up the caller)",
            });
            text
        }
        Out::Promote { r#gen } => format!("promote g{gen}", gen = r#gen),
        Out::Flush => "flush stt".into(),
        Out::Open { turn } => format!("open t{turn}"),
        Out::Reopen { turn } => format!("reopen t{turn}"),
        Out::Commit { turn, said: Said::Keys(keys) } => format!("commit t{turn} keys \"{keys}\""),
        Out::Commit { turn, said: Said::Words(words) } => format!("commit t{turn} {words:?}"),
        Out::Commit { turn, said: Said::Nothing } => format!("commit t{turn} nothing"),
        Out::Amend { turn, text } => format!("amend t{turn} {text:?}"),
        Out::Drop(Why::Noise) => "drop noise, no words".into(),
        Out::Record { turn, text, why } => {
            let why = match why {
                Unanswered::CallOver => "no reply",
                Unanswered::Keys => "superseded by keys",
                Unanswered::Hold => "hold",
            };
            format!("record t{turn} {text:?} {why}")
        }
        Out::Note(note) => format!("· {}", shown_note(note)),
        Out::RunTool { id } => format!("run_tool {id}"),
        Out::CancelTool { id } => format!("cancel_tool {id}"),
        Out::Say { line, .. } => match line {
            Line::Text { text, .. } => format!("say {text:?}"),
            Line::Filler => "say filler".into(),
            Line::Apology => "say apology".into(),
            Line::NobodyThere => "say goodbye, nobody there".into(),
            Line::TimeIsUp => "say goodbye, time is up".into(),
            Line::Voicemail => "say voicemail message".into(),
            Line::NameAndReason => "say name and reason".into(),
        },
        Out::Prompt { kind, .. } => match kind {
            Prompt::Silence(count) => format!("prompt silence {count}"),
            Prompt::TooFewDigits => "prompt too few digits".into(),
            Prompt::AreYouBack => "prompt are you back".into(),
            Prompt::LastMinute => "prompt last minute".into(),
        },
        Out::BackupVoice { r#gen } => format!("backup_tts g{gen} from the last word sent", gen = r#gen),
        Out::TakeFloor => "take_floor caller too long".into(),
        Out::RaiseFloor => "raise_floor voice without words".into(),
        Out::Hold(HoldWhy::Music) => "hold music".into(),
        Out::Hold(HoldWhy::Away) => "hold somebody else has the line".into(),
        Out::Hold(HoldWhy::Caller) => "hold caller put us on hold".into(),
        Out::Unhold => "unhold".into(),
        Out::Verdict(answerer) => format!(
            "verdict {}",
            match answerer {
                Answerer::Human => "human short greeting",
                Answerer::SilentHuman => "human silent pick-up",
                Answerer::ProbablyMachine => "probably machine",
                Answerer::Voicemail => "voicemail",
                Answerer::Screening => "screening",
                Answerer::Menu => "menu",
                Answerer::Unavailable => "unavailable",
            }
        ),
        Out::StartGreeting => "start greeting".into(),
        Out::Stay => "stay".into(),
        Out::Hangup(cause) => format!(
            "hangup {}",
            match cause {
                Cause::AgentEnded => "agent ended",
                Cause::NoMark => "agent ended, no playout mark",
                Cause::MailboxUnavailable => "mailbox unavailable",
                Cause::MaxCall => "call too long",
            }
        ),
        Out::Closed => "closed".into(),
    }
}

fn shown_note(note: &Note) -> String {
    match note {
        Note::Backchannel(text) => format!("backchannel {text:?}"),
        Note::Ignored(text) => format!("ignored {text:?}"),
        Note::DuringKeys(_) => "speech ignored while keys are collected".into(),
        Note::DuringHold(text) => format!("on hold: {text:?}"),
        Note::LateAudio(r#gen) => format!("late audio of g{gen} dropped", gen = r#gen),
        Note::ToolHeld { r#gen, id } => format!("tool {id} held: g{gen} is speculative", gen = r#gen),
        Note::ToolRunsOn(id) => format!("tool {id} runs on, result goes to the record"),
        Note::ResultKept(id) => format!("result of {id} kept for the next turn"),
        Note::ResultWaits(id) => format!("result of {id} waits for the agent's sentence"),
        Note::ResultIgnored(id) => format!("result of {id} ignored"),
        Note::ResultRecorded(id) => format!("result of {id} recorded"),
        Note::ToolTimedOut(id) => format!("tool {id} timed out"),
        Note::KeyStored(digit) => format!("key {} stored", char::from(*digit)),
        Note::RecogniserLost => "backup recogniser gets the last 5 s of audio".into(),
        Note::MarkLost(r#gen) => format!("mark of g{gen} lost", gen = r#gen),
        Note::Reset => "reset".into(),
    }
}

/// The events of the timeline, with those of the default script: each request that will sound has its first token after 150 ms and,
/// where no line shows its audio, audio after 300 ms; audio that a note calls late comes at the time of the note.
fn script(timeline: &Timeline) -> Vec<(Ms, Vec<In>)> {
    let mut events: Vec<(Ms, Vec<In>)> = Vec::new();
    let shows = |r#gen: u64, verb: &str| {
        timeline.inputs.iter().any(|(_, input)| input.starts_with(verb) && named(input) == Some(r#gen))
    };
    for (at, output) in timeline.outputs.iter().filter(|(_, output)| output.starts_with("generate ")) {
        let r#gen = named(output).unwrap();
        let plays = timeline.outputs.iter().any(|(_, output)| *output == format!("play g{gen}", gen = r#gen));
        if (plays || shows(r#gen, "audio")) && !shows(r#gen, "token") {
            events.push((at + 150, vec![In::Token { r#gen }]));
        }
        if plays && !shows(r#gen, "audio") {
            events.push((at + 300, vec![In::Audio { r#gen, duration: None }]));
        }
    }
    for (at, note) in timeline.notes.iter().filter(|(_, note)| note.starts_with("late audio of ")) {
        let r#gen = named(note).unwrap();
        if !timeline
            .inputs
            .iter()
            .any(|(time, input)| time == at && input.starts_with("audio") && named(input) == Some(r#gen))
        {
            events.push((*at, vec![In::Audio { r#gen, duration: None }]));
        }
    }
    let mut last = 1;
    for (at, input) in &timeline.inputs {
        last = named(input).unwrap_or(last);
        events.push((*at, inputs(input, last)));
    }
    events.sort_by_key(|(at, _)| *at);
    events
}

/// Runs a timeline; with `frozen`, the machine is serialised and revived between any two events.
fn run(timeline: &Timeline, frozen: bool) -> Vec<(Ms, Out)> {
    let mut turns = Turns::new(timeline.config.clone());
    let mut got = Vec::new();
    turns.handle(0, In::Expect(timeline.expect.clone()));
    let mut events = script(timeline).into_iter().peekable();
    loop {
        let next_input = events.peek().map(|(at, _)| *at);
        let now = match (next_input, turns.deadline()) {
            (Some(at), Some(due)) => at.min(due),
            (Some(at), None) => at,
            (None, Some(due)) => due,
            (None, None) => break,
        };
        let now = now.max(got.last().map_or(0, |(at, _)| *at));
        if now > timeline.end {
            break;
        }
        if next_input.is_some_and(|at| at <= now) {
            while let Some((_, inputs)) = events.next_if(|(at, _)| *at <= now) {
                for input in inputs {
                    turns.handle(now, input);
                }
            }
        }
        if turns.deadline().is_some_and(|due| due <= now) {
            turns.expire(now);
        }
        if frozen {
            let text = serde_json::to_string(&turns).unwrap();
            turns = serde_json::from_str(&text).unwrap();
        }
        while let Some(out) = turns.poll() {
            got.push((now, out));
        }
    }
    got
}

/// What is wrong with a run, as a timeline to read; empty if nothing is.
fn faults(timeline: &Timeline) -> String {
    let raw = run(timeline, false);
    if raw != run(timeline, true) {
        return "a revived machine goes on differently".into();
    }
    let all: Vec<(Ms, String)> = raw.iter().map(|(at, out)| (*at, shown(out))).collect();
    let got: Vec<&(Ms, String)> = all
        .iter()
        .filter(|(at, text)| {
            !text.starts_with('·') && !(*at == 0 && (text.starts_with("say ") || text.starts_with("play ")))
        })
        .collect();
    let mut wrong = String::new();
    for clause in &timeline.never {
        if PROSE.contains(&clause.as_str()) {
            continue;
        }
        let (verbs, before) =
            clause.split_once(" before ").map_or((clause.as_str(), Ms::MAX), |(verbs, t)| (verbs, t.parse().unwrap()));
        for verb in verbs.split(" or ") {
            for (at, text) in
                got.iter().filter(|(at, text)| *at < before && (text == verb || text.starts_with(&format!("{verb} "))))
            {
                writeln!(wrong, "      never {clause:?}, but {at}< {text}").unwrap();
            }
        }
    }
    for (at, note) in &timeline.notes {
        if !all.contains(&(*at, format!("· {note}"))) {
            writeln!(wrong, "      missing {at}· {note}").unwrap();
        }
    }
    if !got.iter().map(|(at, text)| (*at, text)).eq(timeline.outputs.iter().map(|(at, text)| (*at, text))) {
        let mut rows: Vec<(Ms, u8, String)> = Vec::new();
        rows.extend(timeline.inputs.iter().map(|(at, input)| (*at, 0, format!("        > {input}"))));
        for (at, text) in &timeline.outputs {
            let met = got.iter().any(|(time, other)| time == at && other == text);
            rows.push((*at, 1, format!("{} < {text}", if met { "       " } else { "missing" })));
        }
        for (at, text) in got {
            if !timeline.outputs.contains(&(*at, text.clone())) {
                rows.push((*at, 2, format!("surplus < {text}")));
            }
        }
        for (at, text) in all.iter().filter(|(_, text)| text.starts_with('·')) {
            rows.push((*at, 3, format!("        {text}")));
        }
        rows.sort_by_key(|(at, kind, _)| (*at, *kind));
        if rows.iter().all(|(_, _, row)| !row.starts_with("missing") && !row.starts_with("surplus")) {
            writeln!(wrong, "      in another order: {all:?}").unwrap();
        }
        for (at, _, row) in rows {
            writeln!(wrong, "    {at:>6} {row}").unwrap();
        }
    }
    wrong
}

fn check(file: &str) {
    let mut report = String::new();
    for timeline in load(file) {
        let wrong = faults(&timeline);
        match WAITING.iter().find(|(id, _)| *id == timeline.id) {
            Some((id, reason)) if wrong.is_empty() => {
                writeln!(report, "{id} passes now, take it out of the table ({reason})").unwrap()
            }
            None if !wrong.is_empty() => writeln!(report, "{}  {}\n{wrong}", timeline.id, timeline.title).unwrap(),
            _ => {}
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_timeline_is_read() {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("timelines")).unwrap();
    let ids: Vec<String> =
        files.flat_map(|file| load(file.unwrap().file_name().to_str().unwrap())).map(|timeline| timeline.id).collect();
    assert_eq!(ids.len(), 92);
    for (id, _) in WAITING {
        assert!(ids.iter().any(|other| other == id), "{id} waits but does not exist");
    }
}

#[test]
fn a_shifted_or_missing_output_is_a_fault() {
    for change in 0..3 {
        let mut timeline = load("a_normal_turns.txt").remove(0);
        match change {
            0 => timeline.outputs[1].0 += 10,
            1 => drop(timeline.outputs.pop()),
            _ => timeline.outputs.swap(1, 2),
        }
        assert!(!faults(&timeline).is_empty(), "change {change} was not seen");
    }
}

macro_rules! groups {
    ($($name:ident),* $(,)?) => { $(
        #[test]
        fn $name() {
            check(concat!(stringify!($name), ".txt"));
        }
    )* };
}

groups! {
    a_normal_turns,
    b_hesitations_and_cut_offs,
    c_digits_e_mail_spelling_dates_keys,
    d_backchannels,
    e_coughs_and_noise,
    f_barge_in,
    g_double_talk,
    h_tool_calls_in_flight,
    i_late_or_missing_recogniser_results,
    j_pre_emptive_generation,
    k_vendor_stalls,
    l_silence_and_endless_talk,
    m_hang_ups_and_endings,
    n_keys_during_speech,
    o_voicemail_screening_hold,
}
