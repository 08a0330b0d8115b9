//go:build unix

// Command ensure makes sure that this machine has Kafka for the tests: it fetches the jars with Maven,
// which with Java it installs as root on Debian and its kin; elsewhere it says what to do.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"hooktrail/internal/aptget"
	"hooktrail/internal/kafkatest"
)

const patience = 10 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, patience)
	err := ensure(ctx)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ensure:", err)
		os.Exit(1)
	}
}

func ensure(ctx context.Context) error {
	_, missing := kafkatest.Classpath()
	if missing != nil && os.Getenv(kafkatest.HomeVariable) == "" {
		if err := install(ctx, missing); err != nil {
			return err
		}
		fmt.Println("Kafka: fetching " + kafkatest.Version + " with Maven")
		if err := kafkatest.Fetch(ctx); err != nil {
			return err
		}
		_, missing = kafkatest.Classpath()
	}
	if missing != nil {
		return missing
	}
	version, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("java does not run: %w\n%s", err, version)
	}
	first, _, _ := strings.Cut(string(version), "\n")
	fmt.Printf("Kafka: %s, %s\n", kafkatest.Version, first)
	return nil
}

// install takes the distribution's Java and Maven where they are missing. missing is the reason,
// which is given back where installing is not ours to do.
func install(ctx context.Context, missing error) error {
	var packages []string
	for program, name := range map[string]string{"java": "default-jre-headless", "mvn": "maven"} {
		if _, err := exec.LookPath(program); err != nil {
			packages = append(packages, name)
		}
	}
	if len(packages) == 0 {
		return nil
	}
	if err := aptget.Possible(missing); err != nil {
		return err
	}
	fmt.Println("Kafka: installing the distribution's " + strings.Join(packages, " and "))
	if err := aptget.Update(ctx); err != nil {
		return err
	}
	return aptget.Install(ctx, packages...)
}
