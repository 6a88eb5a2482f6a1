# Completions of imgplan for bash.

_imgplan() {
    local reply
    COMPREPLY=()
    # The target of a redirection: a file, as readline completes it.
    [[ $3 == *[\<\>] ]] && return
    # The whole line, because bash splits words at colons. Without an alias of the name.
    while IFS= read -r reply; do
        COMPREPLY+=("$reply")
    done < <(IMGPLAN_COMPLETE=bash command imgplan -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
}

# Versions before 4.4 have no `nosort`.
complete -o nosort -o default -F _imgplan imgplan 2>/dev/null ||
    complete -o default -F _imgplan imgplan
