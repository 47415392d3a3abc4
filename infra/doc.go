// Package infra holds the tests of the AWS deployment in infra/terraform: that it
// is well-formed, that a plan and a mocked apply say what they should, that its
// routes are the ones that the functions serve, and that mistakes are noticed.
// None of them needs an AWS account; docs/deploy-aws.md says what that leaves open.
package infra
