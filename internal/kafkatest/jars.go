//go:build unix

// Package kafkatest gives tests a real Kafka: one broker in a process of its own, from the released
// jars, which Maven has fetched into its repository.
package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Version is that of the Kafka that the tests run.
const Version = "4.1.1"

// mavenPlugin resolves the jars; its version is fixed as Kafka's is.
const mavenPlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"

// HomeVariable names a directory of an unpacked Kafka to use instead.
const HomeVariable = "KAFKA_HOME"

// ErrNoKafka says that this machine has no Kafka, and how to get one.
var ErrNoKafka = errors.New("no Kafka found: run go run ./internal/kafkatest/ensure, which fetches its jars with Maven " +
	"(it needs Java 17 or newer; Debian and Ubuntu: apt-get install --no-install-recommends default-jre-headless maven), " +
	"or name the directory of an unpacked Kafka in " + HomeVariable)

// Classpath gives what Java needs to run Kafka. The error is an [ErrNoKafka].
func Classpath() (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("there is no java on the PATH: %w", ErrNoKafka)
	}
	if home := os.Getenv(HomeVariable); home != "" {
		if jars, err := filepath.Glob(filepath.Join(home, "libs", "kafka_*.jar")); err != nil || len(jars) == 0 {
			return "", fmt.Errorf("%s is %q, which holds no libs/kafka_*.jar: %w", HomeVariable, home, ErrNoKafka)
		}
		return filepath.Join(home, "libs", "*"), nil
	}
	file, err := classpathFile()
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", ErrNoKafka
	}
	classpath := strings.TrimSpace(string(content))
	for jar := range strings.SplitSeq(classpath, string(os.PathListSeparator)) {
		if _, err := os.Stat(jar); err != nil {
			return "", fmt.Errorf("%w (%s is gone)", ErrNoKafka, filepath.Base(jar))
		}
	}
	return classpath, nil
}

// classpathFile has the answer of the last Fetch.
func classpathFile() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the place for the list of Kafka's jars: %w", err)
	}
	return filepath.Join(cache, "hooktrail-tests", "kafka-"+Version+".classpath"), nil
}

const project = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>hooktrail</groupId>
  <artifactId>kafkatest</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>` + Version + `</version>
    </dependency>
  </dependencies>
</project>
`

// Fetch has Maven put Kafka's jars (43 MB) into its repository, and notes where they are.
func Fetch(ctx context.Context) error {
	file, err := classpathFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make the place for the list of Kafka's jars: %w", err)
	}
	dir, err := os.MkdirTemp("", "hooktrail-kafka-")
	if err != nil {
		return fmt.Errorf("make a directory for Maven: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(project), 0o600); err != nil {
		return fmt.Errorf("write Maven's project: %w", err)
	}
	list := filepath.Join(dir, "classpath")
	maven := exec.CommandContext(ctx, "mvn", "--quiet", "--batch-mode", mavenPlugin, "-Dmdep.outputFile="+list)
	maven.Dir = dir
	if output, err := maven.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch Kafka %s with mvn: %w\n%s", Version, err, output)
	}
	content, err := os.ReadFile(list)
	if err != nil {
		return fmt.Errorf("read Maven's list of jars: %w", err)
	}
	// Renamed, so that nobody reads half of it.
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		return fmt.Errorf("note where Kafka's jars are: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("note where Kafka's jars are: %w", err)
	}
	return nil
}
