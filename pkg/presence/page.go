package presence

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

// MaxPage bounds the members of a page, and is the default.
const MaxPage = 500

const (
	// pageBytes bounds a page as JSON: 512 KiB, less what is around it.
	pageBytes = 500 << 10
	// perMember is more than JSON takes for a member beside its id and its metadata.
	perMember = 40
	// readAtOnce bounds the members of one command, which may have 4 KiB each.
	readAtOnce = 100
)

// Page is a part of a channel's members, sorted by peer id.
type Page struct {
	Members []Member
	// Next is what the next page comes after; "": this is the last.
	Next string
}

// List returns who is in the channel, those whose ids come after the given one (all
// of them after ""), at most limit, and fewer if it would be over 512 KiB. Pages
// that follow each other by Next have each member that stayed exactly
// once. An error means that Redis did not answer, or that there is something else
// under a channel's key.
func List(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, app, channelName, after string, limit int) (Page, error) {
	bucket := keys.Bucket(app, channelName)
	from := "-"
	if after != "" {
		from = "(" + after
	}
	peers, err := rdb.ZRangeByLex(ctx, bucket.MemberIndex(channelName), &redis.ZRangeBy{Min: from, Max: "+", Count: int64(limit) + 1}).Result()
	if err != nil {
		return Page{}, err
	}
	page, size := Page{}, 0
	more := len(peers) > limit
	peers = peers[:min(limit, len(peers))]
	for i := 0; i < len(peers); i += readAtOnce {
		asked := peers[i:min(i+readAtOnce, len(peers))]
		values, err := rdb.HMGet(ctx, bucket.Members(channelName), asked...).Result()
		if err != nil {
			return Page{}, err
		}
		for j, value := range values {
			text, ok := value.(string)
			if !ok {
				continue // has left in between
			}
			m, err := parseMember(asked[j], text)
			if err != nil {
				return Page{}, fmt.Errorf("presence of channel %q: %w", channelName, err)
			}
			// Quotes and backslashes in ids take two bytes.
			if size += perMember + 2*len(m.Peer) + len(m.Metadata); size > pageBytes {
				page.Next = page.Members[len(page.Members)-1].Peer
				return page, nil
			}
			page.Members = append(page.Members, m)
		}
	}
	if more {
		page.Next = peers[len(peers)-1]
	}
	return page, nil
}
