//! Whose turn it is: when the caller has finished, when they interrupt, when silence means something; keys.

use super::shape::{any, block, chars, choice, one_of, range};
use crate::call::words;

words! {
    /// How the end of a turn is found.
    EndPolicy {
        /// Words, punctuation and what is expected, at this caller's pace.
        Adaptive = "adaptive",
        /// Silence alone.
        Silence = "silence",
        /// Words, punctuation and what is expected.
        Semantic = "semantic",
        /// The recogniser's own word for it.
        Vendor = "vendor",
    }
}
choice!(EndPolicy);

words! {
    /// What lets the caller interrupt.
    BargeInMode {
        /// Words if the recogniser streams them, else duration.
        Auto = "auto",
        /// Nothing.
        Off = "off",
        /// Any voice.
        Vad = "vad",
        /// Words that say something.
        Words = "words",
        /// Voice for long enough.
        Duration = "duration",
    }
}
choice!(BargeInMode);

words! {
    /// What becomes of a turn without end.
    TooLong {
        /// The agent takes the floor.
        Interrupt = "interrupt",
        /// It may go on.
        Ignore = "ignore",
    }
}
choice!(TooLong);

block! {
    /// Waits while a certain kind of answer is expected.
    Expected {
        /// While a number is expected.
        digits_ms: u64 = 1_500, range(100.0, 8_000.0);
        /// While an e-mail address is expected.
        email_ms: u64 = 1_800, range(100.0, 8_000.0);
        /// While yes or no is expected.
        yes_no_ms: u64 = 300, range(50.0, 3_000.0);
        /// While a day or a time is expected.
        date_ms: u64 = 800, range(100.0, 5_000.0);
    }
}

block! {
    /// When the caller has finished.
    TurnEnd {
        /// How it is found.
        policy: EndPolicy = EndPolicy::Adaptive, any();
        /// The wait of policy `silence`.
        silence_ms: u64 = 500, range(100.0, 5_000.0);
        /// Floor of the other policies' waits.
        min_ms: u64 = 250, range(50.0, 2_000.0);
        /// Their ceiling.
        max_ms: u64 = 1_500, range(200.0, 8_000.0);
        /// After words that end a sentence.
        punctuated_ms: u64 = 250, range(0.0, 5_000.0);
        /// After words that do not.
        unpunctuated_ms: u64 = 900, range(0.0, 5_000.0);
        /// By what is expected.
        expect: Expected = Expected::default(), any();
        /// Prepare the answer before the end is certain; it is thrown away if the caller goes on.
        eager: bool = true, any();
    }
}

block! {
    /// When the caller interrupts.
    BargeIn {
        /// What counts.
        mode: BargeInMode = BargeInMode::Auto, any();
        /// So many words, those that only say "I listen" not counted.
        min_words: u64 = 1, range(0.0, 10.0);
        /// So much voice.
        min_speech_ms: u64 = 350, range(50.0, 3_000.0);
        /// Fall silent at the first sound, decide later.
        pause_on_onset: bool = true, any();
        /// Undecided after so long: go on from the same sample.
        decide_within_ms: u64 = 1_200, range(200.0, 5_000.0);
        /// Words that never interrupt.
        never: Vec<String> = ["uh-huh", "mm-hmm", "yeah", "okay", "right"].map(String::from).into(), chars(1, 60).items(50);
        /// Words that always do.
        always: Vec<String> = ["stop", "wait", "hold on", "no"].map(String::from).into(), chars(1, 60).items(50);
        /// A key interrupts.
        dtmf: bool = true, any();
    }
}

block! {
    /// When nobody says anything.
    Silence {
        /// Until the first question.
        prompt_after_ms: u64 = 10_000, range(2_000.0, 120_000.0);
        /// What is asked, one after the other.
        prompts: Vec<String> = vec!["Are you still there?".into()], chars(1, 300).items(5);
        /// Silence after which we hang up; 0 is never, else at least 5000.
        hang_up_after_ms: u64 = 30_000, range(0.0, 600_000.0);
        /// Said before that.
        goodbye: String = "I'll hang up now. Goodbye.".into(), chars(0, 300);
    }
}

block! {
    /// Whose turn it is.
    Turn {
        /// When the caller has finished.
        end: TurnEnd = TurnEnd::default(), any();
        /// When they interrupt.
        barge_in: BargeIn = BargeIn::default(), any();
        /// When nobody says anything.
        silence: Silence = Silence::default(), any();
        /// A turn longer than this is too long.
        caller_too_long_ms: u64 = 90_000, range(10_000.0, 600_000.0);
        /// What becomes of it.
        caller_too_long: TooLong = TooLong::Interrupt, any();
    }
}

words! {
    /// What decides whether there is speech.
    VadEngine {
        /// The neural network.
        Auto = "auto",
        /// The neural network.
        Neural = "neural",
        /// Level above the noise: fires on any sound.
        Energy = "energy",
    }
}
choice!(VadEngine);

block! {
    /// What counts as voice.
    Vad {
        /// What decides.
        engine: VadEngine = VadEngine::Auto, any();
        /// Probability at which speech begins.
        threshold: f64 = 0.5, range(0.05, 0.95);
        /// Shorter bursts are none.
        min_speech_ms: u64 = 64, range(20.0, 500.0);
    }
}

block! {
    /// Keys of the telephone.
    Dtmf {
        /// Keys reach model and flow.
        collect: bool = true, any();
        /// The key that ends a number.
        terminator: String = "#".into(), one_of(&["#", "*", "none"]);
        /// A gap this long ends it, too.
        timeout_ms: u64 = 3_000, range(500.0, 15_000.0);
        /// So many keys end it.
        max_digits: u64 = 32, range(1.0, 64.0);
    }
}
