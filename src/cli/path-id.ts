const unsafeCharacters = /[^A-Za-z0-9._@+=-]/gu

/**
 * A file's path as part of a document's id: a folder or file whose name ids take stays as it is, so that ids of earlier runs
 * stay theirs; in any other name each character that ids do not take is percent-encoded (RFC 3986, UTF-8), `%` included. Two
 * paths have the same one only where a name on disk is another's encoded form (`a%20b` beside `a b`): the caller refuses the second.
 */
export const pathId = (path: string): string => path.split('/').map(nameId).join('/')

const nameId = (name: string): string =>
  /^(?:[A-Za-z0-9._@+=-]|%[0-9A-Fa-f]{2})*$/.test(name) ? name : name.replace(unsafeCharacters, encoded)

const encoded = (character: string): string =>
  Buffer.from(character).toString('hex').toUpperCase().replace(/../g, '%$&')
