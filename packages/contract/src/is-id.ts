/** How an id looks to whoever reads the schema. {@link isId} decides. */
export const idPattern = '^[A-Za-z0-9._/@+=%-]{1,200}$'

/**
 * The one rule for ids on the wire: 1 to 200 of `A-Z a-z 0-9 . _ / @ + = % -`, `%` only as `%XX`,
 * no empty segment, no `.` or `..` segment. What passes is safe inside an OpenFGA object (`type:id`),
 * a path segment once encoded, and a log line.
 */
export function isId(value: string): boolean {
  if (!/^[A-Za-z0-9._/@+=%-]{1,200}$/.test(value)) return false
  if (/%(?![0-9A-Fa-f]{2})/.test(value)) return false
  return value.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..')
}
