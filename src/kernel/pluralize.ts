/** `1 document`, `2 documents`. */
export const pluralize = (count: number, singular: string, many = `${singular}s`): string =>
  `${count} ${count === 1 ? singular : many}`
