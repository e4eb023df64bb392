//! Documents that name files, keys or numbers: what they say is there.
