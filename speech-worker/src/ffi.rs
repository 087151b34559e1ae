//! The few functions of pocketsphinx and flite that are used, looked up at run time: the crate builds without their packages.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Mutex;

/// A decoder of pocketsphinx.
#[repr(C)]
pub(crate) struct PsDecoder(c_void);
/// A voice of flite.
#[repr(C)]
pub(crate) struct CstVoice(c_void);
/// A wave of flite, as cst_wave.h declares it.
#[repr(C)]
pub(crate) struct CstWave {
    kind: *const c_char,
    pub(crate) sample_rate: c_int,
    pub(crate) num_samples: c_int,
    pub(crate) num_channels: c_int,
    pub(crate) samples: *const i16,
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// The functions of the engines.
        pub(crate) struct Functions { $($(#[$doc])* pub(crate) $name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)* }

        impl Functions {
            fn find(libraries: &[*mut c_void]) -> Result<Self, String> {
                Ok(Functions { $($name: {
                    let symbol = symbol(libraries, stringify!($name))?;
                    // SAFETY: the symbol is the C function of this name, whose type is that of the library's header.
                    unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) $(-> $ret)?>(symbol) }
                },)* })
            }
        }
    };
}

functions! {
    ps_args: fn() -> *const c_void;
    cmd_ln_parse_r: fn(*mut c_void, *const c_void, c_int, *const *const c_char, c_int) -> *mut c_void;
    cmd_ln_free_r: fn(*mut c_void) -> c_int;
    err_set_logfp: fn(*mut c_void);
    ps_init: fn(*mut c_void) -> *mut PsDecoder;
    ps_add_word: fn(*mut PsDecoder, *const c_char, *const c_char, c_int) -> c_int;
    ps_set_jsgf_string: fn(*mut PsDecoder, *const c_char, *const c_char) -> c_int;
    ps_set_search: fn(*mut PsDecoder, *const c_char) -> c_int;
    ps_unset_search: fn(*mut PsDecoder, *const c_char) -> c_int;
    ps_start_utt: fn(*mut PsDecoder) -> c_int;
    ps_process_raw: fn(*mut PsDecoder, *const i16, usize, c_int, c_int) -> c_int;
    ps_end_utt: fn(*mut PsDecoder) -> c_int;
    ps_get_hyp: fn(*mut PsDecoder, *mut i32) -> *const c_char;
    flite_init: fn() -> c_int;
    flite_text_to_wave: fn(*const c_char, *mut CstVoice) -> *mut CstWave;
    delete_wave: fn(*mut CstWave);
    register_cmu_us_slt: fn(*const c_char) -> *mut CstVoice;
    register_cmu_us_rms: fn(*const c_char) -> *mut CstVoice;
    register_cmu_us_kal: fn(*const c_char) -> *mut CstVoice;
}

const LIBRARIES: [&CStr; 6] = [
    c"libsphinxbase.so.3",
    c"libpocketsphinx.so.3",
    c"libflite.so.1",
    c"libflite_cmu_us_slt.so.1",
    c"libflite_cmu_us_rms.so.1",
    c"libflite_cmu_us_kal.so.1",
];

/// Both engines. They are used from many threads; what must not happen twice at once is behind `setup`.
pub(crate) struct Engines {
    pub(crate) functions: Functions,
    /// Held while a decoder or a grammar is made: that code has static state.
    pub(crate) setup: Mutex<()>,
}

fn last_fault() -> String {
    // SAFETY: dlerror returns null or a C string that lives until the next dl call of this thread.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "unknown".to_owned();
    }
    // SAFETY: not null, see above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn symbol(libraries: &[*mut c_void], name: &str) -> Result<*mut c_void, String> {
    let wanted = CString::new(name).map_err(|e| e.to_string())?;
    for library in libraries {
        // SAFETY: the handle came from dlopen and is never closed.
        let found = unsafe { libc::dlsym(*library, wanted.as_ptr()) };
        if !found.is_null() {
            return Ok(found);
        }
    }
    Err(format!("{name} is in none of the libraries"))
}

/// Loads both engines; the error names the library that is missing.
pub(crate) fn load() -> Result<Engines, String> {
    let mut libraries = Vec::new();
    for name in LIBRARIES {
        // SAFETY: the libraries' constructors have no requirements.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if library.is_null() {
            return Err(last_fault());
        }
        libraries.push(library);
    }
    let functions = Functions::find(&libraries)?;
    // SAFETY: called once, before any other function of flite; a null log file silences pocketsphinx.
    unsafe {
        (functions.flite_init)();
        (functions.err_set_logfp)(std::ptr::null_mut());
    }
    Ok(Engines { functions, setup: Mutex::new(()) })
}

/// A file that exists only in memory, and the path by which C code can open it.
pub(crate) fn memory_file(content: &[u8]) -> Option<(std::fs::File, String)> {
    use std::io::Write as _;
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    // SAFETY: the name is a C string; the result is checked.
    let fd = unsafe { libc::memfd_create(c"dictionary".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return None;
    }
    // SAFETY: a descriptor that was just made and that nobody else owns.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all(content).ok()?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Some((file, path))
}

/// Whether standard input is a socket.
pub(crate) fn stdin_is_socket() -> bool {
    // SAFETY: an all-zero stat is a valid value, and fstat only writes into it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    (unsafe { libc::fstat(0, &mut stat) }) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFSOCK
}

/// Lowers this process's priority: speech gives way to media when the machine is full.
pub(crate) fn give_way() {
    // SAFETY: changes only this process's own priority.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 5) };
}
