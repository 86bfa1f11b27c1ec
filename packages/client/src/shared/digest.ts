import { base64url } from 'jose'

/** base64url of the SHA-256. */
export async function digest(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
  return base64url.encode(new Uint8Array(bytes))
}
