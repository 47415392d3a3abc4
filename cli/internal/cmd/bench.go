package cmd

import (
	"time"

	"github.com/spf13/cobra"

	"fleetwire/cli/internal/load"
)

func (c *cli) benchCommand() *cobra.Command {
	var o load.Options
	command := &cobra.Command{
		Use: "bench", Short: "Put a short load on a deployment, and measure it",
		Long: `Connects devices and an ingester, has the devices publish, and says how long the acks and the deliveries took. It exits with 5 if a message that was acked did
not arrive, or one was refused. The messages count against the app's quota, and the connects against the limits of one address.
The devices are PREFIX-1, PREFIX-2 and so on. The service goes on listing them as offline, for 30 days unless the app's rememberPeersSec says otherwise; a further load uses them again.`,
		Example: "  fleetwire bench --devices 100 --rate 10 --duration 10s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Devices < 1 || o.Devices > 10_000:
				return usagef("bench", "--devices: %d is not 1 to 10000", o.Devices)
			case o.Rate <= 0 || o.Rate > 90:
				return usagef("bench", "--rate: %v is not over 0 and up to 90: a connection may send 100 frames a second", o.Rate)
			case o.Size < 64 || o.Size > 30_000:
				return usagef("bench", "--size: %d is not 64 to 30000", o.Size)
			case o.Duration < time.Second || o.Duration > time.Hour:
				return usagef("bench", "--duration: %v is not 1s to 1h", o.Duration)
			}
			return c.bench(cmd, o)
		},
	}
	flags := command.Flags()
	flags.IntVar(&o.Devices, "devices", 50, "how many connections publish, 1 to 10000")
	flags.Float64Var(&o.Rate, "rate", 10, "messages a second of each device, up to 90")
	flags.IntVar(&o.Size, "size", 128, "bytes of a message's data, 64 to 30000")
	flags.DurationVar(&o.Duration, "duration", 10*time.Second, "how long they publish, 1s to 1h")
	flags.StringVar(&o.Prefix, "prefix", "fleetwire-bench", "begins the channels and the ids of the devices; the key must cover PREFIX/*")
	return command
}

func (c *cli) bench(cmd *cobra.Command, o load.Options) error {
	service, err := c.service(cmd.Context())
	if err != nil {
		return err
	}
	o.Service = service
	_ = c.err.Line("connecting %d devices, which publish for %v", o.Devices, o.Duration)
	r, err := load.Run(cmd.Context(), o)
	if err != nil {
		return err
	}
	if err := c.printBench(r); err != nil {
		return err
	}
	switch {
	case r.Refused > 0:
		return notDone(r.LastError.Error())
	case r.Received < r.Sent:
		return notDone("messages that were acked did not arrive")
	}
	return nil
}

func (c *cli) printBench(r load.Result) error {
	if c.json {
		return c.out.JSON(struct {
			load.Result
			ConnectedMs int64   `json:"connectedMs"`
			PerSecond   float64 `json:"perSecond"`
		}{r, r.Connected.Milliseconds(), float64(r.Sent) / r.Took.Seconds()})
	}
	if err := c.out.Line("%d devices connected in %v, and published for %v", r.Devices, r.Connected.Round(time.Millisecond), r.Took.Round(time.Millisecond)); err != nil {
		return err
	}
	if err := c.out.Line("sent %d (%.0f a second), refused %d, received %d", r.Sent, float64(r.Sent)/r.Took.Seconds(), r.Refused, r.Received); err != nil {
		return err
	}
	if err := c.out.Line("ack       median %.2f ms · 99 %% within %.2f ms · at most %.2f ms", r.Ack.P50, r.Ack.P99, r.Ack.Max); err != nil {
		return err
	}
	return c.out.Line("delivery  median %.2f ms · 99 %% within %.2f ms · at most %.2f ms", r.Delivery.P50, r.Delivery.P99, r.Delivery.Max)
}
