# Completions of imgplan for elvish.

set edit:completion:arg-completer[imgplan] = {|@words|
    try { env IMGPLAN_COMPLETE=elvish imgplan -- $@words 2>/dev/null } catch { nop }
}
