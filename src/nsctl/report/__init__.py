"""Writers: tables, trees, JSON, and the escaping of hostile text. Pure; nothing here prints."""
