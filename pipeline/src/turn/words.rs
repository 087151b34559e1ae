//! Word lists for English. They are data: lower case, without punctuation, a phrase as its words with single spaces.

/// Words that stop the agent when they are among the first three.
pub(super) const STOP: &[&str] = &[
    "stop", "wait", "hold", "hang", "no", "nope", "sorry", "actually", "operator", "agent", "human", "excuse", "pause",
    "quiet", "enough", "cancel", "pardon", "repeat", "but", "never",
];

/// Words that only say "I listen".
pub(super) const BACKCHANNELS: &[&str] = &[
    "uh-huh", "uhuh", "uhhuh", "mm-hmm", "mmhmm", "mhm", "mm", "mmm", "hmm", "hm", "m-hm", "okay", "ok", "k", "yeah", "yep",
    "yup", "yes", "ya", "right", "sure", "fine", "good", "great", "cool", "nice", "perfect", "lovely", "alright", "aha", "ah",
    "oh", "wow", "really", "exactly", "absolutely", "definitely", "true", "correct", "indeed", "thanks", "cheers", "gotcha",
    "understood", "ooh",
];

/// Phrases of the same kind; their words alone would count.
pub(super) const BACKCHANNEL_PHRASES: &[&str] = &[
    "i see", "got it", "go on", "go ahead", "of course", "all right", "thank you", "thanks very much", "very good", "i know",
    "makes sense", "that's right", "that's fine", "no problem", "uh huh", "mm hmm", "oh i see", "fair enough", "thank you very much",
    "i understand",
];

/// Words of parting: while the call is being ended they change nothing.
pub(super) const FAREWELLS: &[&str] = &["bye", "goodbye", "bye-bye", "cheerio", "ciao", "thanks", "cheers"];

/// Phrases of parting.
pub(super) const FAREWELL_PHRASES: &[&str] = &[
    "see you", "see you later", "good bye", "have a nice day", "have a good day", "you too", "take care", "good night",
    "have a good one", "bye bye", "talk to you later",
];

/// Sounds of somebody who thinks.
pub(super) const FILLERS: &[&str] = &["um", "umm", "uh", "uhm", "er", "erm", "eh", "hmm", "hm", "well", "like", "ehm"];

/// Words after which English goes on.
pub(super) const CONTINUATIONS: &[&str] = &[
    "and", "but", "or", "so", "because", "since", "although", "though", "unless", "until", "while", "when", "where", "which",
    "who", "that", "than", "if", "the", "a", "an", "my", "your", "his", "her", "our", "their", "its", "this", "these", "those",
    "to", "at", "in", "on", "of", "for", "from", "with", "by", "about", "into", "as", "is", "are", "was", "were", "am", "be",
    "i", "i'm", "i'd", "i'll", "it's", "we", "he", "she", "they", "would", "could", "should", "can", "will", "do", "does",
    "have", "has", "had", "not", "also", "then", "plus", "maybe", "between", "there's",
];

/// Phrases that ask for time.
pub(super) const ASKS_TIME: &[&str] = &[
    "hold on", "one moment", "just a moment", "a moment", "one second", "just a second", "a second", "a sec", "one sec",
    "one minute", "just a minute", "a minute", "let me check", "let me see", "let me look", "let me find", "let me get",
    "hang on", "bear with me", "give me a",
];

/// Whole answers that need no waiting.
pub(super) const SHORT_ANSWERS: &[&str] = &[
    "yes", "yeah", "yep", "yup", "no", "nope", "okay", "ok", "right", "correct", "sure", "exactly", "fine", "alright",
    "perfect", "great", "thanks", "absolutely", "definitely", "never", "none", "hello", "hi",
];

/// Words of which a plain yes or no is made.
pub(super) const YES_NO: &[&str] = &[
    "yes", "yeah", "yep", "yup", "no", "nope", "nah", "okay", "ok", "sure", "right", "correct", "please", "thanks", "thank",
    "you", "of", "course", "absolutely", "definitely", "exactly", "certainly", "not", "that's", "that", "is", "it", "do", "i",
    "don't", "indeed", "fine", "perfect", "sir", "ma'am", "true", "false", "wrong", "incorrect",
];

/// Of those, the ones that answer.
pub(super) const YES_NO_CORE: &[&str] = &[
    "yes", "yeah", "yep", "yup", "no", "nope", "nah", "okay", "ok", "sure", "right", "correct", "course", "absolutely",
    "definitely", "exactly", "certainly", "indeed", "fine", "perfect", "true", "false", "wrong", "incorrect",
];

/// Words for single digits.
pub(super) const UNITS: &[&str] = &[
    "zero", "oh", "o", "nought", "naught", "nil", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
];

/// Words for two digits that stand alone.
pub(super) const TEENS: &[&str] = &[
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
];

/// Words for two digits, the second of which may follow.
pub(super) const TENS: &[&str] = &["twenty", "thirty", "forty", "fourty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// Words of large numbers.
pub(super) const MAGNITUDES: &[&str] = &["hundred", "thousand", "million", "dozen", "half", "couple"];

/// Words that may stand around a spoken number without making it something else.
pub(super) const AROUND_NUMBERS: &[&str] = &[
    "it's", "its", "it", "is", "my", "the", "number", "code", "pin", "and", "um", "uh", "er", "then", "area", "plus", "so",
    "okay", "ok", "dash", "that's", "double", "triple", "yes", "yeah", "hash", "pound",
];

/// Units of amounts.
pub(super) const AMOUNT_UNITS: &[&str] = &[
    "pound", "pounds", "quid", "dollar", "dollars", "bucks", "euro", "euros", "cent", "cents", "pence", "p", "percent",
    "people", "persons", "kilo", "kilos", "kilograms", "grams", "litres", "liters", "miles", "kilometres", "kilometers",
    "metres", "meters", "hours", "hour", "minutes", "minute", "days", "day", "weeks", "week", "months", "month", "years",
    "year", "pieces", "times", "nights", "items", "francs", "yen", "kg", "km", "grand", "k",
];

/// Words that are a complete day.
pub(super) const DAYS: &[&str] = &[
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "today", "tomorrow", "tonight", "yesterday",
    "noon", "midnight", "now",
];

/// Months.
pub(super) const MONTHS: &[&str] = &[
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
    "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
];

/// Words of dates that complete nothing by themselves.
pub(super) const DATE_PARTS: &[&str] = &[
    "morning", "afternoon", "evening", "week", "weekend", "month", "next", "half", "quarter", "past", "o'clock", "am", "pm",
    "a.m", "p.m",
];

/// Words after a number that make it a time of day.
pub(super) const CLOCK: &[&str] = &["am", "pm", "a.m", "p.m", "o'clock"];

/// Day numbers as words.
pub(super) const ORDINALS: &[&str] = &[
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
    "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth", "thirtieth",
    "twenty-first", "thirty-first",
];

/// Kinds of street.
pub(super) const STREETS: &[&str] = &[
    "street", "road", "avenue", "lane", "drive", "court", "place", "square", "close", "way", "crescent", "terrace",
    "boulevard", "gardens", "hill", "park", "st", "rd", "ave", "row", "mews", "grove", "highway",
];

/// Letters by name: alphabets of telephonists.
pub(super) const SPELLING_NAMES: &[&str] = &[
    "alpha", "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "juliett", "kilo",
    "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "x-ray",
    "yankee", "zulu", "double", "capital", "hyphen", "dash", "space", "zed", "zee", "as", "in", "for", "like", "apostrophe",
];

/// Phrases that close a spelling.
pub(super) const SPELLING_ENDS: &[&str] = &["that's it", "that's all", "that is it", "that is all", "i'm done", "end", "done", "finished"];

/// Words that no e-mail address has: the caller says something else.
pub(super) const NOT_IN_EMAIL: &[&str] = &[
    "don't", "can't", "haven't", "won't", "what", "why", "how", "who", "sorry", "wait", "no", "not", "know", "remember", "you",
    "have", "want", "please", "need",
];

/// What answering machines say that take messages.
pub(super) const VOICEMAIL: &[&str] = &[
    "leave a message", "leave your message", "leave me a message", "after the tone", "after the beep", "at the tone",
    "voicemail", "voice mail", "answering machine", "can't come to the phone", "cannot come to the phone", "record your message",
    "you have reached", "you've reached", "i am not available", "i'm not available", "is not available", "not available right now",
    "get back to you", "return your call",
];

/// What screening services say.
pub(super) const SCREENING: &[&str] = &[
    "reason for your call", "reason for calling", "state your name", "who is calling", "who's calling", "say your name",
    "screening", "before i try to connect", "see if this person is available",
];

/// What menus say.
pub(super) const MENU: &[&str] = &["press one", "press 1", "press two", "press 2", "press zero", "press 0", "main menu", "following options"];

/// What machines say that take no message.
pub(super) const UNAVAILABLE: &[&str] = &[
    "mailbox is full", "mailbox full", "has not been set up", "is not set up", "not in service", "cannot accept messages",
    "can't accept messages", "no longer in service", "not accepting messages", "number you have dialed", "number you have dialled",
];
