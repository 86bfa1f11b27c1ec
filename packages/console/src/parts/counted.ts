/** `1 document`, `2 documents`. */
export const counted = (count: number, singular: string, many = `${singular}s`): string =>
  `${count.toLocaleString('en')} ${count === 1 ? singular : many}`
