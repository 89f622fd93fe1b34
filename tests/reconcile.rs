//! Reconciliation: the world is damaged in each way that there is a type of finding for; it is found, with its evidence; what can be
//! repaired is, through the ordinary doors; and the next comparison finds nothing more. Against the sandbox, by its own time.

mod command;
mod crash;
mod grants;
mod judgement;
mod money_back;
mod payouts;
mod scale;
mod world;
