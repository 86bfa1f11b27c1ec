/** The part of `fetch` that is used: a test or a guard takes its place. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

const bytesMax = 256 * 1024

/**
 * A small JSON document from an issuer, or undefined for whatever goes wrong: no answer in time, any status
 * but 200 (redirects are not followed: keys come from where the settings say), more than 256 KiB, not JSON.
 */
export async function fetchJson(url: string, fetch: Fetch, timeoutMs: number): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const response = await fetch(url, { redirect: 'manual', signal, headers: { accept: 'application/json' } })
    if (response.status !== 200) {
      await response.body?.cancel()
      return undefined
    }
    return JSON.parse(await limitedText(response))
  } catch {
    // Every cause is the same to the caller, who refuses: the keys could not be had.
    return undefined
  }
}

/** Text of an answer of at most 256 KiB in UTF-8; throws for more. */
export async function limitedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > bytesMax) throw new Error('The document is too large.')
    chunks.push(chunk)
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
}
