package embedded

// MatchGlob is matchGlob.
var MatchGlob = matchGlob
