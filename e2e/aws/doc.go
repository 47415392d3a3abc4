// Package aws is tests alone: what is deployed to AWS, built as it is deployed,
// and met the way AWS meets it.
//
// The functions' binaries come out of their zips and run against a server that
// speaks the documented Lambda Runtime API; the node's binary is built by the
// Dockerfile's own command and runs in an empty file system. Secrets Manager,
// ECS and Elastic Load Balancing are HTTP stand-ins of the APIs they document;
// Redis is a real one. Nothing here has met a real AWS account.
package aws
