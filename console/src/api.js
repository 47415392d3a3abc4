// Failure is an answer of the service that is no success, or no answer at all.
export class Failure extends Error {
  constructor(status, code, message) {
    super(message)
    this.status = status // 0: there was no answer
    this.code = code
  }
}

// request asks the console's server for a path under /console/, and gives the JSON of the
// answer, or null for none. The session's cookie goes along; the page never sees it.
export async function request(method, path, { body, headers } = {}) {
  const init = { method, headers: { ...headers }, cache: 'no-store' }
  if (method !== 'GET') init.headers['X-Fleetwire-Console'] = '1'
  if (body !== undefined) {
    init.headers['Content-Type'] = 'application/json'
    init.body = JSON.stringify(body)
  }
  let answer
  try {
    answer = await fetch(path, init)
  } catch {
    throw new Failure(0, 'unreachable', 'The service does not answer.')
  }
  const text = await answer.text()
  let json = null
  try {
    if (text) json = JSON.parse(text)
  } catch {
    throw new Failure(answer.status, 'unreadable', 'The answer is not JSON.')
  }
  if (!answer.ok) throw new Failure(answer.status, json?.error, json?.message ?? `The service answered ${answer.status}.`)
  return json
}
