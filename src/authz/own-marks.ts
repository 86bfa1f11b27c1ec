/** Types of what the service notes in OpenFGA for itself, and their relations: nothing is decided by them. */
export const ownMarks: ReadonlyMap<string, readonly string[]> = new Map([
  ['turn', []],
  ['fence', ['turn']],
  ['watermark', ['at']],
])

/** Whether a tuple on this object is one of them: no question leads there, so no replica has to hold it. */
export const isOwnMark = (object: string): boolean => ownMarks.has(object.slice(0, object.indexOf(':')))
