"""Root file systems from archives: unpacked by descriptors, kept under names, never followed out."""
