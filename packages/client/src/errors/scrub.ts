/**
 * Takes what looks like a credential out of a text: a JWT, whatever follows an authorization scheme, the
 * members of a form that hold one, and these secrets wherever they stand, if they have 8 characters or more.
 * A last net: no message is made of such in the first place.
 */
export const scrubbed = (text: string, secrets: readonly string[] = []): string =>
  secrets
    .filter(({ length }) => length >= secretMin)
    .reduce((partlyScrubbed, secret) => partlyScrubbed.replaceAll(secret, removed), text)
    // The rest of a JWT is optional here, so that a long run of its letters is looked at once, not from each
    // `eyJ` in it.
    .replaceAll(/\beyJ[\w-]+(\.[\w-]+\.[\w-]*)?/g, (run, tail) => (tail === undefined ? run : removed))
    .replaceAll(/\b(bearer|dpop|basic)\s+[\w.~+/=-]{8,}/gi, `$1 ${removed}`)
    .replaceAll(
      /\b((?:access|refresh|subject|actor|id)_token|client_assertion|client_secret|device_code|auth_req_id)=[^&\s]+/gi,
      `$1=${removed}`,
    )

const removed = '[removed]'
// A shorter one would be cut out of ordinary words, and protects nothing.
const secretMin = 8
