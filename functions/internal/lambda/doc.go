// Package lambda runs the control plane's net/http handlers as AWS Lambda
// functions.
//
// Events come from an Application Load Balancer (single- or multi-value
// headers), an API Gateway HTTP API (payload 2.0) or a function URL, and become
// requests that look as they were sent:
//
//   - The path keeps its escapes: %2F in a channel stays %2F. An HTTP API decodes
//     paths, so its path is taken as decoded, and a function URL's decoded copy,
//     requestContext.http.path, is never read.
//   - An ALB hands query strings on undecoded; they are not encoded again.
//   - RemoteAddr is the address that the front door saw. Of X-Forwarded-For only
//     the entry that the front door itself appended counts; the rest anybody can
//     have sent.
//
// A function reads its configuration when it starts: FLEETWIRE_APPS and
// FLEETWIRE_REDIS_URL, each also as the ARN of a secret. Without it, and while
// Redis is away, it answers 503 backend_error within [AnswerLimit] and logs why,
// instead of ending and being started again in a loop; each request is another
// try. Secrets are read again while the function is warm.
//
// Between two requests Lambda freezes the process. So nothing here works in the
// background: a goroutine would find its deadlines passed when it wakes up. The
// exception is the connection on which requests that wait hear of ends of commands: it
// is made anew after a long freeze, and those requests look once a second as well.
package lambda
