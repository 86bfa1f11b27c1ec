/** What the process of the service and that of its clients say to each other. */
export type Told =
  | { readonly kind: 'ready'; readonly url: string; readonly backend: string }
  | { readonly kind: 'token'; readonly id: number; readonly token: string }
  | {
      readonly kind: 'state'
      /** Of the whole process. */
      readonly megabytes: number
      /** Of the main thread's heap and buffers right after everything dead was collected; every tenth state has it. */
      readonly live?: number
      readonly delayMs: number
    }

export const documents = 200
export const collection = 'shelf'
