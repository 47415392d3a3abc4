package embedded

// matchGlob says whether Redis's glob matches all of s: * stands for any bytes, ? for
// one, [a-c] and [^a] for one of or outside a set, and \ makes the next byte literal.
func matchGlob(glob, s string) bool {
	star, resume := "", "" // what follows the last *, and the rest of s that it has yet to try
	starred := false
	for s != "" {
		if glob != "" && glob[0] == '*' {
			glob = glob[1:]
			star, resume, starred = glob, s, true
			continue
		}
		if rest, ok := matchByte(glob, s[0]); ok {
			glob, s = rest, s[1:]
			continue
		}
		if !starred {
			return false
		}
		resume = resume[1:]
		glob, s = star, resume
	}
	for glob != "" && glob[0] == '*' {
		glob = glob[1:]
	}
	return glob == ""
}

// matchByte matches one byte with the glob's first element, and returns what follows
// that.
func matchByte(glob string, b byte) (rest string, ok bool) {
	if glob == "" {
		return "", false
	}
	switch {
	case glob[0] == '?':
		return glob[1:], true
	case glob[0] == '[':
		return matchSet(glob[1:], b)
	case glob[0] == '\\' && len(glob) > 1:
		glob = glob[1:]
	}
	return glob[1:], glob[0] == b
}

// matchSet matches one byte with the set that the glob begins with, behind its [. A
// set without ] ends with the glob.
func matchSet(glob string, b byte) (rest string, ok bool) {
	negated := glob != "" && glob[0] == '^'
	if negated {
		glob = glob[1:]
	}
	found := false
	for glob != "" && glob[0] != ']' {
		escaped := glob[0] == '\\' && len(glob) > 1
		if escaped {
			glob = glob[1:]
		}
		low, high := glob[0], glob[0]
		if !escaped && len(glob) >= 3 && glob[1] == '-' {
			high = glob[2]
			glob = glob[2:]
		}
		found = found || min(low, high) <= b && b <= max(low, high)
		glob = glob[1:]
	}
	if glob != "" {
		glob = glob[1:]
	}
	return glob, found != negated
}
