// Pause is the first process of every pod: it holds the pod's namespaces, and buries its orphans.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	asked := make(chan os.Signal, 8)
	signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for got := range asked {
		if got != syscall.SIGCHLD {
			os.Exit(0)
		}
		// Several children may have ended behind one signal.
		for {
			if id, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); id <= 0 || err != nil {
				break
			}
		}
	}
}
