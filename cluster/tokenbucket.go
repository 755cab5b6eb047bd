package cluster

import "time"

// tokenBucket admits rate bytes per second. It may go into debt by one entry, so that an entry never waits for a full
// bucket. Not safe for concurrent use.
type tokenBucket struct {
	rate   float64 // bytes per second
	burst  float64
	tokens float64
	at     time.Time
}

func newTokenBucket(rate int64) *tokenBucket {
	burst := float64(rate) / 8
	return &tokenBucket{rate: float64(rate), burst: burst, tokens: burst}
}

// wait returns how long until the next entry may go; 0 for now.
func (b *tokenBucket) wait(now time.Time) time.Duration {
	if !b.at.IsZero() {
		b.tokens = min(b.burst, b.tokens+now.Sub(b.at).Seconds()*b.rate)
	}
	b.at = now
	if b.tokens > 0 {
		return 0
	}
	return max(time.Millisecond, time.Duration(-b.tokens/b.rate*float64(time.Second)))
}

// spend takes n bytes.
func (b *tokenBucket) spend(n int64) { b.tokens -= float64(n) }
