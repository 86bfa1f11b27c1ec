/** Who may read what, from somewhere else than the endpoint. */
export interface Truth {
  mayRead(person: string, document: string): Promise<boolean>
  /** Whether it names this person anywhere: such a one is not invented. */
  knows?(person: string): Promise<boolean>
}
