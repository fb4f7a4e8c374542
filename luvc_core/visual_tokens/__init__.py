"""Visual tokens as encoder and decoder exchange them, with their identity and checksum."""
