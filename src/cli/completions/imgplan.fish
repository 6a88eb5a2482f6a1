# Completions of imgplan for fish.

complete --command imgplan --no-files --keep-order --arguments '(
    IMGPLAN_COMPLETE=fish command imgplan -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor | string unescape) 2>/dev/null
)'
