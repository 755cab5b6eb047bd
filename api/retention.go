package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Age is how long something is kept; 0 is for ever. In JSON it is a text: "90d", "36h", "forever".
type Age time.Duration

// Forever is the age that nothing reaches.
const Forever Age = 0

const day = 24 * time.Hour

var errAge = errors.New(`an age is a number of days, hours or minutes like "90d", "36h" or "1d12h", a number of seconds, or "forever"`)

// maxAge keeps ages within what times can be reckoned with.
const maxAge = 200 * 365 * day

// ParseAge reads an age. "forever", "none" and 0 are for ever; weeks are w, days d, and the rest as Go writes durations. A plain number is
// in seconds.
func ParseAge(s string) (Age, error) {
	text := strings.TrimSpace(strings.ToLower(s))
	if text == "forever" || text == "none" {
		return Forever, nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		if seconds < 0 || seconds > int64(maxAge/time.Second) {
			return 0, errAge
		}
		return Age(seconds) * Age(time.Second), nil
	}
	var total time.Duration
	for _, unit := range []struct {
		letter string
		size   time.Duration
	}{{"w", 7 * day}, {"d", day}} {
		number, rest, found := strings.Cut(text, unit.letter)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, errAge
		}
		total += time.Duration(n) * unit.size
		text = rest
	}
	if text != "" {
		rest, err := time.ParseDuration(text)
		if err != nil || rest < 0 {
			return 0, errAge
		}
		total += rest
	} else if s == "" {
		return 0, errAge
	}
	if total > maxAge {
		return 0, errAge
	}
	return Age(total.Truncate(time.Microsecond)), nil
}

// String is the age as ParseAge reads it.
func (a Age) String() string {
	d := time.Duration(a)
	if d == 0 {
		return "forever"
	}
	text := ""
	if days := d / day; days > 0 {
		text, d = fmt.Sprintf("%dd", days), d%day
	}
	for _, unit := range []struct {
		letter string
		size   time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}} {
		if n := d / unit.size; n > 0 {
			text, d = text+fmt.Sprint(int64(n))+unit.letter, d%unit.size
		}
	}
	if d > 0 {
		text += d.String()
	}
	return text
}

// MarshalJSON writes the age as text.
func (a Age) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }

// UnmarshalJSON reads a text, or a number of seconds.
func (a *Age) UnmarshalJSON(data []byte) error {
	text := string(data)
	if len(data) > 0 && data[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
	}
	age, err := ParseAge(text)
	*a = age
	return err
}

// RetentionRule bounds what is kept. In a deployment an absent bound is the cluster's.
type RetentionRule struct {
	MaxAge   *Age   `json:"max_age,omitempty"`
	MaxCount *int64 `json:"max_count,omitempty"` // of each deployment; 0 is no bound
}

// DeploymentRetention is how long a deployment's finished runs, and their logs, are kept.
type DeploymentRetention struct {
	Runs *RetentionRule `json:"runs,omitempty"`
	Logs *RetentionRule `json:"logs,omitempty"`
}

// Retention is how long the cluster keeps what has finished, for deployments that say nothing else.
type Retention struct {
	Runs struct {
		MaxAge   Age   `json:"max_age"`
		MaxCount int64 `json:"max_count"` // of each deployment, and of the runs without one; 0 is no bound
		MaxTotal int64 `json:"max_total"` // in the cluster, whatever deployments say; 0 is no bound
	} `json:"runs"`
	Logs struct {
		MaxAge   Age   `json:"max_age"`
		MaxCount int64 `json:"max_count"` // runs whose logs are kept, of each deployment; 0 is no bound
	} `json:"logs"`
	Updated Time `json:"updated"`
	// HeldUntil says that nothing goes for its age before that time, because the cluster's time has jumped by HeldGap.
	HeldUntil *Time     `json:"held_until"`
	HeldGap   *Duration `json:"held_gap"`
}

// RetentionUpdate is the body of PATCH /retention: what is absent stays.
type RetentionUpdate struct {
	Runs   *RetentionRunsUpdate `json:"runs,omitempty"`
	Logs   *RetentionRule       `json:"logs,omitempty"`
	Resume bool                 `json:"resume,omitempty"` // the time is right: no longer hold back what is old
}

// RetentionRunsUpdate changes the bounds of runs.
type RetentionRunsUpdate struct {
	MaxAge   *Age   `json:"max_age,omitempty"`
	MaxCount *int64 `json:"max_count,omitempty"`
	MaxTotal *int64 `json:"max_total,omitempty"`
}

// RetentionPreview is what would go now. Runs of a family that has not finished are counted but stay.
type RetentionPreview struct {
	Time        Time                `json:"time"`
	Runs        int64               `json:"runs"`    // to be removed with all that belongs to them
	Logs        int64               `json:"logs"`    // runs that would lose only their logs
	Total       int64               `json:"total"`   // of Runs, for the bound on all runs of the cluster
	Limited     bool                `json:"limited"` // there was more than is counted
	Held        bool                `json:"held"`    // nothing goes for its age now; the counts say what would
	Deployments []RetentionEstimate `json:"deployments"`
}

// RetentionEstimate is what would go of one deployment.
type RetentionEstimate struct {
	DeploymentID *ID    `json:"deployment_id"` // null: the runs without a deployment
	Name         string `json:"name"`          // "flow/deployment", or ""
	Rules        struct {
		Runs RetentionBounds `json:"runs"`
		Logs RetentionBounds `json:"logs"`
	} `json:"rules"`
	Runs   int64 `json:"runs"`
	Logs   int64 `json:"logs"`
	Oldest *Time `json:"oldest"` // when the oldest finished run ended
}

// RetentionBounds are the bounds in force.
type RetentionBounds struct {
	MaxAge   Age   `json:"max_age"`
	MaxCount int64 `json:"max_count"`
}
