package nsq

import "github.com/rdyhq/nsq/internal/wire"

// VERSION is the version of go-nsq whose API this package has. It is not the
// version of this module.
const VERSION = "1.1.0"

// MsgIDLength is the number of bytes of a [MessageID].
const MsgIDLength = wire.IDLen

// The types of the frames that nsqd sends.
const (
	FrameTypeResponse int32 = int32(wire.FrameResponse)
	FrameTypeError    int32 = int32(wire.FrameError)
	FrameTypeMessage  int32 = int32(wire.FrameMessage)
)

// MagicV1 opens a connection to nsqlookupd's TCP port.
var MagicV1 = []byte(wire.MagicV1)

// MagicV2 opens a connection to nsqd.
var MagicV2 = []byte(wire.MagicV2)

// IsValidTopicName tells whether name may name a topic: 1 to 64 bytes of
// letters, digits, '.', '_' and '-', with the suffix "#ephemeral" allowed and
// counted.
func IsValidTopicName(name string) bool { return wire.ValidName(name) }

// IsValidChannelName tells whether name may name a channel. The rule is that
// of [IsValidTopicName].
func IsValidChannelName(name string) bool { return wire.ValidName(name) }
