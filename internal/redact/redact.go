// Package redact hides secrets in what people may see: settings, and the JSON of blocks for those who may not read it in clear. What
// is secret is said by a JSON schema or guessed from names.
package redact

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// Mask stands in the place of a secret.
const Mask = "********"

// secretWords make a name secret when they are one of its words; secretParts when they appear anywhere in it, words joined by _.
var (
	secretWords = []string{
		"password", "passwords", "passwd", "pass", "pwd", "passphrase", "secret", "secrets", "token", "tokens", "apikey", "credential",
		"credentials", "creds", "auth", "authorization", "cookie", "cookies", "dsn", "sas", "webhook",
	}
	// keyEndings may follow the word key in the name of one; with others, as in key_type, the name is not that of a key.
	keyEndings = []string{"id", "data", "json", "pem", "base64"}
	// openKeys before the word key make a name that finds things and opens none.
	openKeys    = []string{"idempotency", "cache", "dynamic", "task"}
	secretParts = []string{"connection_string", "service_account", "password", "passwd", "secret", "apikey"}
)

// Name reports whether a field or setting of that name is taken to hold a secret: one of the words of its name is password, secret,
// token, key, credentials or the like. It rather hides too much.
func Name(name string) bool {
	words := wordsOf(name)
	for i, w := range words {
		key := (w == "key" || w == "keys") && (i == len(words)-1 || slices.Contains(keyEndings, words[i+1]))
		if slices.Contains(secretWords, w) || key && (i == 0 || !slices.Contains(openKeys, words[i-1])) {
			return true
		}
	}
	joined := strings.Join(words, "_")
	return slices.ContainsFunc(secretParts, func(p string) bool { return strings.Contains(joined, p) })
}

// wordsOf splits snake_case, kebab-case and camelCase into words in lower case.
func wordsOf(name string) (words []string) {
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	letters := []rune(name)
	for i, c := range letters {
		switch {
		case !unicode.IsLetter(c) && !unicode.IsDigit(c):
			end()
			continue
		case unicode.IsUpper(c) && i > 0 && (!unicode.IsUpper(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1])):
			end()
		}
		word.WriteRune(unicode.ToLower(c))
	}
	end()
	return words
}

// Value is the value of a setting or field of that name as anybody may see it: a secret is Mask, and so is the password in an
// address. What is empty stays empty, so that it shows whether a secret is set.
func Value(name, value string) string {
	if value == "" {
		return ""
	}
	if Name(name) {
		return Mask
	}
	return address(value)
}

// address hides the password of scheme://user:password@host.
func address(value string) string {
	if !strings.Contains(value, "://") {
		return value
	}
	u, err := url.Parse(value)
	if err != nil {
		// It cannot be said where a password would end.
		if strings.Contains(value, "@") {
			return Mask
		}
		return value
	}
	if _, set := u.User.Password(); !set {
		return value
	}
	scheme, rest, _ := strings.Cut(value, "://")
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	at := strings.LastIndexByte(authority, '@')
	user, _, _ := strings.Cut(authority[:at], ":")
	return scheme + "://" + user + ":" + Mask + rest[at:]
}
