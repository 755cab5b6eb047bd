package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// serviceManager is who started this process and wants to hear how it is, in the datagrams of sd_notify(3). A process that was
// started otherwise tells nobody.
type serviceManager struct {
	socket   string        // "" for none
	watchdog time.Duration // how long it believes in a silent process; 0 for ever
	logger   *slog.Logger
}

func (a *app) serviceManager(logger *slog.Logger) *serviceManager {
	m := &serviceManager{socket: a.environment["NOTIFY_SOCKET"], logger: logger}
	// The watchdog may be meant for another process that left us its environment.
	if pid := a.environment["WATCHDOG_PID"]; pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(a.environment["WATCHDOG_USEC"], 10, 64); err == nil && usec > 0 {
			m.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return m
}

// ready says that the process does its work; status is a line for people.
func (m *serviceManager) ready(status string) { m.tell("READY=1", "STATUS="+status) }

// status replaces the line for people.
func (m *serviceManager) status(status string) { m.tell("STATUS=" + status) }

// stopping says that the process ends, and why it is still there.
func (m *serviceManager) stopping(status string) { m.tell("STOPPING=1", "STATUS="+status) }

func (m *serviceManager) tell(lines ...string) {
	if m.socket == "" {
		return
	}
	if err := m.send(strings.Join(lines, "\n")); err != nil {
		m.logger.Warn("the service manager was not told", "what", lines[0], "error", err)
	}
}

func (m *serviceManager) send(text string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("reach %s: %w", m.socket, err)
	}
	_, err = conn.Write([]byte(text))
	if closing := conn.Close(); err == nil {
		err = closing
	}
	return err
}

// watch answers the watchdog, three times in its period, as long as alive returns nil. A process whose watchdog stays without
// answer is killed and started again. stop ends it.
func (m *serviceManager) watch(alive func(context.Context) error) (stop func()) {
	if m.socket == "" || m.watchdog == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(m.watchdog / 3)
		defer tick.Stop()
		for {
			if err := m.check(ctx, alive); err == nil {
				m.tell("WATCHDOG=1")
			} else if ctx.Err() == nil {
				m.logger.Error("this process does not answer itself; the service manager will end it", "error", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		work.Wait()
	}
}

func (m *serviceManager) check(ctx context.Context, alive func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, m.watchdog/3)
	defer cancel()
	return alive(ctx)
}
