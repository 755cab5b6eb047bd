package cloud

import (
	"fmt"

	"github.com/sluice-dev/sluice/api"
)

// edit is what to do about the settings of a storage.
const edit = "correct the settings with `sluice block edit`, and try them with `sluice storage test`"

func tooLarge(size int) error {
	return &api.Error{
		Kind:    api.KindTooLarge,
		Message: fmt.Sprintf("%d bytes are more than the limit of %d for one value", size, MaxObject),
		Hint:    "store large data in files or a database of your own, and keep a link to it as the result",
	}
}

// missing: there is no object under the key.
func missing(bucket, key string) error {
	return &api.Error{
		Kind:    api.KindNotFound,
		Message: fmt.Sprintf("there is no object %s in %s", key, bucket),
		Hint:    "somebody or a rule of the bucket deleted it; code comes back with `sluice deployment create`, results with a new run",
	}
}

// noBucket: the bucket itself is not there.
func noBucket(bucket, where string, cause error) error {
	return &api.Error{
		Kind: api.KindInvalid, Message: fmt.Sprintf("there is no %s at %s", bucket, where), Err: cause,
		Hint: "make it, or " + edit,
	}
}

// refused: the credentials are wrong, or not enough.
func refused(who, where string, cause error) error {
	return &api.Error{
		Kind: api.KindForbidden, Message: fmt.Sprintf("%s refuses the credentials (%s)", where, who), Err: cause,
		Hint: "they must be good and may read and write objects; " + edit,
	}
}

// unusable: the block's settings make no sense.
func unusable(message string) error {
	return &api.Error{Kind: api.KindInvalid, Message: message, Hint: edit}
}

// unreachable: nobody answered, or not in time.
func unreachable(cause error) error {
	return &api.Error{
		Kind: api.KindUnavailable, Message: "it does not answer", Err: cause,
		Hint: "check from this machine that the address is right and the network lets it through: `sluice storage test`",
	}
}

// rejected: the storage answered with an error of its own.
func rejected(status int, cause error) error {
	kind := api.KindInvalid
	if status >= 500 || status == 429 || status == 408 {
		kind = api.KindUnavailable
	}
	return &api.Error{Kind: kind, Message: fmt.Sprintf("it answered with status %d", status), Err: cause, Hint: "if it stays so, " + edit}
}
