/** What the process of the service and that of its clients say to each other. */
export type Told =
  | { readonly kind: 'ready'; readonly url: string; readonly backend: string }
  | { readonly kind: 'token'; readonly id: number; readonly token: string }
  | { readonly kind: 'state'; readonly megabytes: number; readonly delayMs: number }

export const documents = 200
export const collection = 'shelf'
