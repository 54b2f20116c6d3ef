package main

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
)

func clearCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "clear",
		Short: "Clear SAs; traffic or the configuration brings them back",
		Args:  noArguments,
		RunE:  needsCommand,
	}
	crypto := &cobra.Command{
		Use:   "crypto",
		Short: "Clear SAs, in the words of Cisco IOS",
		Args:  noArguments,
		RunE:  needsCommand,
	}
	crypto.AddCommand(clearSession(), clearSA())
	c.AddCommand(crypto)
	return c
}

func clearSession() *cobra.Command {
	return clearing(&cobra.Command{
		Use:   "session [local IP [port N]] [remote IP [port N]]",
		Short: "Delete IKE SAs with their IPsec SAs, telling the peers",
		Example: `  spindle clear crypto session
  spindle clear crypto session remote 192.0.2.8
  spindle clear crypto session local 192.0.2.6 port 4500 remote 192.0.2.8`,
	}, func(_ *cobra.Command, args []string) (api.Clear, error) { return parseEnds(args) })
}

func clearSA() *cobra.Command {
	c := clearing(&cobra.Command{
		Use:   "sa [peer IP]",
		Short: "Delete IPsec SAs; the IKE SA stands and makes new ones",
		Long: `Delete IPsec SAs, telling the peers. The IKE SA stands and makes new ones when
they are wanted.

With --silent the IKE SAs go as well and no peer is told, as if this gateway had
crashed: it is how to prove that a lost SA is recovered.`,
		Example: "  spindle clear crypto sa\n  spindle clear crypto sa peer 192.0.2.8 --silent",
	}, func(c *cobra.Command, args []string) (which api.Clear, err error) {
		which.Silent, _ = c.Flags().GetBool("silent")
		which.Children = !which.Silent
		switch {
		case len(args) == 0:
		case len(args) == 2 && args[0] == "peer":
			which.Remote, err = parseIP(args[1])
		default:
			err = usagef("clear crypto sa takes peer IP, not %q", args)
		}
		return which, err
	})
	c.Flags().Bool("silent", false, "tell no peer, as in a crash; IKE SAs go as well")
	return c
}

// clearing completes a command that clears what parse makes of its arguments.
func clearing(c *cobra.Command, parse func(*cobra.Command, []string) (api.Clear, error)) *cobra.Command {
	c.Args = func(c *cobra.Command, args []string) error {
		_, err := parse(c, args)
		return err
	}
	c.Flags().StringP("output", "o", "table", "table or json")
	c.RunE = func(c *cobra.Command, args []string) error {
		which, err := parse(c, args)
		if err != nil {
			return err
		}
		form, err := outputForm(c)
		if err != nil {
			return err
		}
		done, err := api.NewClient(runtimeDir(c)).Clear(c.Context(), which)
		if err != nil {
			return err
		}
		if form == "json" {
			return printJSON(c.OutOrStdout(), done)
		}
		fmt.Fprintf(c.OutOrStdout(), "cleared %d IKE SAs and %d child SAs\n", done.IKE, done.Children)
		return nil
	}
	return c
}

// parseEnds reads [local IP [port N]] [remote IP [port N]].
func parseEnds(args []string) (which api.Clear, err error) {
	for len(args) > 0 {
		addr, port := &which.Local, &which.LocalPort
		if args[0] == "remote" {
			addr, port = &which.Remote, &which.RemotePort
		}
		if args[0] != "local" && args[0] != "remote" || addr.IsValid() || len(args) < 2 {
			return which, usagef("clear crypto session takes [local IP [port N]] [remote IP [port N]], not %q", args[0])
		}
		if *addr, err = parseIP(args[1]); err != nil {
			return which, err
		}
		if args = args[2:]; len(args) > 0 && args[0] == "port" {
			if len(args) < 2 {
				return which, usagef("port needs a number")
			}
			n, err := strconv.ParseUint(args[1], 10, 16)
			if err != nil || n == 0 {
				return which, usagef("port %q: write 1 to 65535", args[1])
			}
			*port, args = uint16(n), args[2:]
		}
	}
	return which, nil
}

func parseIP(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, usagef("%q is no IP address", s)
	}
	return a, nil
}
