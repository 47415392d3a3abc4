// Package system starts what is measured, fresh for every measurement and on
// loopback: our nodes on a Redis, NATS and Mosquitto where they are installed,
// and the floor. It reads what they use from the operating system.
package system
