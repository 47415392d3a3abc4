package cmd

import (
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"fleetwire/clients/go/client"
)

func (c *cli) tokenCommand() *cobra.Command {
	var request client.TokenRequest
	var metadata, peerMetadata string
	command := &cobra.Command{
		Use: "token PEER", Short: "Mint a token for a device",
		Long: `Mints a token for the peer (a device, an ingester) that it names, and prints it. Without --channel and --permission
the token may do all that the secret key may: narrow it. Protocol §3, §5.`,
		Example: "  fleetwire token camera-001 --channel 'devices/camera-001/*' --permission publish,subscribe --ttl 24h",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Peer = args[0]
			var err error
			if request.Metadata, err = jsonObject("token", "metadata", metadata); err != nil {
				return err
			}
			if request.PeerMetadata, err = jsonObject("token", "peer-metadata", peerMetadata); err != nil {
				return err
			}
			if request.TTL < time.Second || request.TTL%time.Second != 0 {
				return usagef("token", "--ttl: %v is not whole seconds up to 24h; give one such as 1h", request.TTL)
			}
			return c.mint(cmd, request)
		},
	}
	flags := command.Flags()
	flags.StringSliceVar(&request.Channels, "channel", nil, "a channel or pattern that the token covers, such as 'devices/camera-001/*'; repeat the flag, or separate with commas")
	flags.StringSliceVar(&request.Permissions, "permission", nil, "publish, subscribe, presence or send; repeat the flag, or separate with commas")
	flags.DurationVar(&request.TTL, "ttl", time.Hour, "how long the token is valid, up to 24h")
	flags.StringVar(&metadata, "metadata", "", "a JSON object for the peer itself, which its welcome has")
	flags.StringVar(&peerMetadata, "peer-metadata", "", "a JSON object that others see beside the peer")
	return command
}

func (c *cli) mint(cmd *cobra.Command, request client.TokenRequest) error {
	service, err := c.service(cmd.Context())
	if err != nil {
		return err
	}
	token, expires, err := service.MintToken(cmd.Context(), request)
	if err != nil {
		return err
	}
	if c.json {
		return c.out.JSON(map[string]any{"token": token, "expiresAt": expires.Unix()})
	}
	return c.out.Line("%s", token)
}

// jsonObject reads a flag that takes a JSON object; nil: the flag is not given.
func jsonObject(command, flag, text string) (any, error) {
	if text == "" {
		return nil, nil
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
		return nil, usagef(command, `--%s: %q is not a JSON object; give one such as '{"firmware":"v3"}'`, flag, text)
	}
	return json.RawMessage(text), nil
}
