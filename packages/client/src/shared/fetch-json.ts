/** The global `fetch`, or what stands in for it. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

const bytesMax = 256 * 1024
const timeoutMs = 5_000

/**
 * A small JSON document, or undefined for whatever goes wrong: no answer in five seconds, any status but 200
 * (redirects are not followed: keys come from where the issuer says), more than 256 KiB, not JSON.
 */
export async function fetchJson(fetch: Fetch, url: string, init: RequestInit = {}): Promise<unknown> {
  try {
    const signal = AbortSignal.timeout(timeoutMs)
    const response = await fetch(url, { ...init, redirect: 'manual', signal })
    if (response.status !== 200) {
      await response.body?.cancel()
      return undefined
    }
    return JSON.parse(await limitedText(response, bytesMax))
  } catch {
    // Every cause is the same to the caller, who refuses: it could not be had.
    return undefined
  }
}

/** Throws where there is more than that, or what is no UTF-8. */
export async function limitedText(response: Response, bytesMax: number): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > bytesMax) throw new Error('The document is too large.')
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

/** The URL, or null where it is none: `URL.parse`, which Node 20 lacks. */
export const urlOf = (address: string): URL | null => (URL.canParse(address) ? new URL(address) : null)

/** https, or http on loopback. */
export function isSafe(address: string): boolean {
  const url = urlOf(address)
  if (url === null) return false
  return (
    url.protocol === 'https:' ||
    (url.protocol === 'http:' && ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname))
  )
}
